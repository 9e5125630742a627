# Two commands do everything on a fresh machine: make demo, make test.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO_DIR ?= work_dirs/demo-$(shell date +%Y%m%d-%H%M%S)
DEMO_CONFIG = configs/detection/cascade_convnext_a_shapes.py
CHAIN_DIR ?= work_dirs/chain-$(shell date +%Y%m%d-%H%M%S)
DOCS_VENV ?= .venv-docs
UPSTREAM_VENV ?= .venv-upstream
# Added to the three trainings, such as `--max-iters 2` to try the chain.
CHAIN_FLAGS ?=

.PHONY: install demo chain test test-slow test-interpreted test-gpu test-mmpretrain test-upstream test-pythons lint lock docs

install: $(VENV)/installed

# Wheels only: nothing is compiled. The lock is complete, so there are no dependencies to resolve.
# Python compiles a module to bytecode when it is first imported, rather than pip all 16,000 of them.
# The file marks a finished installation.
$(VENV)/installed: requirements/lock.txt requirements/lora.txt setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --only-binary :all: \
		-r requirements/lock.txt
	$(BIN)/python -m pip check
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --only-binary :all: --upgrade \
		--target $(VENV)/lora -r requirements/lora.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: install
	$(BIN)/python tools/train.py $(DEMO_CONFIG) --seed 0 --work-dir $(DEMO_DIR)
	$(BIN)/python tools/test.py $(DEMO_CONFIG) $(DEMO_DIR) --work-dir $(DEMO_DIR)/test \
		--show-dir $(DEMO_DIR)/pictures
	$(BIN)/python tools/report.py $(DEMO_DIR) --out $(DEMO_DIR)/report.html

# Pretraining, the detector and the segmentor that start from it, their tests in several views.
chain: install
	$(BIN)/python tools/pretrain_cls.py configs/classification/convnext_a_shapes.py \
		--seed 0 --work-dir $(CHAIN_DIR)/cls $(CHAIN_FLAGS)
	$(BIN)/python tools/train.py configs/detection/mask_rcnn_convnext_a_shapes.py \
		--seed 0 --work-dir $(CHAIN_DIR)/det --backbone-weights $(CHAIN_DIR)/cls $(CHAIN_FLAGS)
	$(BIN)/python tools/test.py configs/detection/mask_rcnn_convnext_a_shapes.py $(CHAIN_DIR)/det \
		--tta --work-dir $(CHAIN_DIR)/det_tta --show-dir $(CHAIN_DIR)/det_pictures
	$(BIN)/python tools/train.py configs/segmentation/upernet_convnext_a_shapes.py \
		--seed 0 --work-dir $(CHAIN_DIR)/seg --backbone-weights $(CHAIN_DIR)/cls $(CHAIN_FLAGS)
	$(BIN)/python tools/test.py configs/segmentation/upernet_convnext_a_shapes.py $(CHAIN_DIR)/seg \
		--tta --work-dir $(CHAIN_DIR)/seg_tta --show-dir $(CHAIN_DIR)/seg_pictures

# Two tests at a time, with one thread each.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: install
	$(BIN)/python -m pip install --quiet --only-binary :all: -r requirements/notebook.txt
	$(BIN)/python -m pytest -m "slow or not slow"

# Every test of the fused kernels, and every twin of a test on the fused path, in Triton's interpreter.
test-interpreted: install
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal \
		-m "interpreted and not gpu"

# Everything marked gpu, slow or not; the end says what was skipped and why, and how many there are.
test-gpu: install
	CONVNEXT_DENSE_KERNELS=1 $(BIN)/python -m pytest -m gpu -rs

# mmpretrain apart from the environment, since mmdet imports it and it breaks with transformers 5.
test-mmpretrain: install
	$(BIN)/python -m pip install --quiet --no-deps --only-binary :all: --upgrade \
		--target $(VENV)/mmpretrain -r requirements/mmpretrain.txt
	PYTHONPATH=$(VENV)/mmpretrain $(BIN)/python -m pytest -k mmpretrain \
		tests/weights/test_libraries.py tests/benchmark/test_networks.py

# The contract with the mm* packages (docs/dependencies.md) on the newest torch and numpy, and with
# the maintained fork of mmengine, in an environment of its own (6 GB).
test-upstream:
	$(PYTHON) -m venv $(UPSTREAM_VENV)
	$(UPSTREAM_VENV)/bin/python -m pip install --quiet --no-compile --only-binary :all: --upgrade \
		-r requirements/upstream.txt
	$(UPSTREAM_VENV)/bin/python -m pip install --quiet --no-compile --only-binary :all: --upgrade \
		--no-deps 'mmcv-lite<2.2' mmdet mmsegmentation
	$(UPSTREAM_VENV)/bin/python -m pytest --noconftest -m "slow or not slow" tests/contract

# Installation, import and unit tests on every Python 3.10 to 3.13 that is found.
test-pythons:
	tests/pythons.sh

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The site from docs/ and the docstrings, into site/: open site/index.html, or serve the folder.
docs: $(DOCS_VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs build --strict

$(DOCS_VENV)/installed: requirements/docs.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet --only-binary :all: -r requirements/docs.txt
	touch $@

# Exact versions for all supported Pythons; needs `pip install uv`.
LOCK = uv pip compile --universal --python-version 3.10 --only-binary :all: --no-header --no-annotate
lock:
	$(LOCK) requirements/lock.in -o requirements/lock.txt
	$(LOCK) --constraint requirements/lock.txt requirements/docs.in -o requirements/docs.txt
	$(LOCK) --constraint requirements/lock.txt requirements/notebook.in -o requirements/notebook.txt
