"""Files from outside that would run code when they are unpickled or executed, given to every tool.

Each of them would touch a marker. That they can is shown first; then every tool is run in this
process, and the marker must never appear.
"""

import json
import os
import pickle
import re
import runpy
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump
from mmengine.fileio import load as load_file
from mmengine.fileio.handlers.registry_utils import file_handlers
from mmengine.registry import DATASETS, FUNCTIONS, METRICS, registry
from mmengine.runner.checkpoint import CheckpointLoader
from torch.utils.data import Dataset

from convnext_dense.benchmark import data_loading, memory
from convnext_dense.browse.samples_page import browse
from convnext_dense.cli import test, train
from convnext_dense.cli.shared.run_command import run_command
from convnext_dense.cli.shared.train_flags import TrainFlags
from convnext_dense.config import load as config_load
from convnext_dense.config.reading import read_config
from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.engine import DenseRunner
from convnext_dense.errors import UserError
from convnext_dense.inference.model import Model, load
from convnext_dense.inference.steps import Whole
from convnext_dense.inference.trained.networks import Detector
from convnext_dense.predictor import Predictor
from tests.engine.test_loops import Numbers
from tests.engine.test_loops import run as run_line
from tests.miniature import SHAPES

TOOLS = Path(__file__).parents[2] / "tools"


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


@pytest.fixture(scope="module")
def evil(tmp_path_factory) -> Path:
    """A folder of hostile files; ``marker`` appears in it when one of them is obeyed."""
    folder = tmp_path_factory.mktemp("evil")
    command = f"touch {folder / 'marker'}"
    payload = {"state_dict": {"weight": Payload(command)}, "meta": {"epoch": 1, "iter": 1}}
    torch.save(payload, folder / "zip.pth")
    torch.save(payload, folder / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("data.pkl", "text.json", "results.json"):
        (folder / name).write_bytes(pickle.dumps(payload))
    np.save(folder / "array.npy", np.array([Payload(command)], dtype=object), allow_pickle=True)
    text = f"model: !!python/object/apply:os.system ['{command}']\n"
    (folder / "objects.yaml").write_text(text)
    (folder / "based.py").write_text('_base_ = ["objects.yaml"]\n')
    (folder / "picture").mkdir()
    cv2.imwrite(str(folder / "picture/a.jpg"), np.zeros((64, 64, 3), np.uint8))
    run = folder / "run"
    (run / "20260101_000000/vis_data").mkdir(parents=True)
    (run / "epoch_1.pth").write_bytes((folder / "zip.pth").read_bytes())
    (run / "last_checkpoint").write_text("epoch_1.pth")
    (run / "load.py").write_text(f"import os\nos.system({command!r})\nmodel = dict()\n")
    (run / "env.json").write_text("{}")
    for name in ("metrics.json", "lr_groups.csv", "20260101_000000/vis_data/scalars.json"):
        (run / name).write_bytes((folder / "data.pkl").read_bytes())
    return folder


@pytest.fixture(autouse=True)
def _registries_stay_open(monkeypatch):
    """A plain config closes mmengine's imports for the rest of a process; here, of a test."""
    for name in ("get_object_from_string", "import_module"):
        monkeypatch.setattr(registry, name, getattr(registry, name))


@pytest.fixture
def run(evil, data_root, options, tmp_path, monkeypatch, capfd):
    """Runs a tool in this process; returns its exit code and what it wrote to stderr."""
    small = [f"{key}={value}" for key, value in options.items()]
    words = dict(EVIL=evil, OUT=tmp_path / "out", SHAPES=SHAPES, DATA=data_root)

    def start(line: str) -> tuple[int, str]:
        arguments = [re.sub(r"[A-Z]{3,}", lambda m: str(words[m[0]]), w) for w in line.split()]
        tool = arguments.pop(0)
        if "--cfg-options" in arguments and "SHAPES" in line:
            at = arguments.index("--cfg-options") + 1
            arguments[at:at] = small
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [tool, *arguments])
        try:
            runpy.run_path(str(TOOLS / f"{tool}.py"), run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, capfd.readouterr().err

    return start


@pytest.mark.parametrize("name", ["zip.pth", "data.pkl", "array.npy", "objects.yaml"])
def test_the_files_are_hostile(evil, name):
    """Read by those who trust them they do run their command."""
    {
        ".pth": lambda path: torch.load(path, weights_only=False),
        ".pkl": lambda path: pickle.loads(path.read_bytes()),
        ".npy": lambda path: np.load(path, allow_pickle=True),
        ".yaml": lambda path: yaml.unsafe_load(path.read_text()),
    }[Path(name).suffix](evil / name)
    (evil / "marker").unlink()  # raises where the file did nothing


REFUSED = """
train SHAPES --data-root DATA --load-from EVIL/zip.pth --cfg-options a=1
train SHAPES --data-root DATA --load-from EVIL/old.pth --cfg-options a=1
train SHAPES --data-root DATA --resume EVIL/zip.pth --work-dir OUT --cfg-options a=1
train SHAPES --data-root DATA --resume --work-dir EVIL/run --cfg-options a=1
train SHAPES --data-root DATA --backbone-weights EVIL/zip.pth --cfg-options a=1
train SHAPES --data-root DATA --backbone-weights EVIL/run --cfg-options a=1
train SHAPES --data-root DATA --cfg-options train_dataloader.dataset.ann_file=EVIL/data.pkl
train SHAPES --data-root DATA --cfg-options train_dataloader.dataset.ann_file=EVIL/text.json
train SHAPES --data-root DATA --cfg-options train_dataloader.dataset.proposal_file=EVIL/data.pkl
train SHAPES --train-json EVIL/data.pkl --val-json EVIL/data.pkl --images EVIL/picture
train EVIL/objects.yaml
test SHAPES EVIL/zip.pth --data-root DATA
test SHAPES EVIL/run --data-root DATA
test EVIL/objects.yaml EVIL/zip.pth
predict SHAPES EVIL/zip.pth EVIL/picture --out OUT
predict SHAPES EVIL/run EVIL/picture --out OUT
pretrain_cls SHAPES --data-root DATA --backbone-weights EVIL/old.pth --cfg-options a=1
pretrain_cls EVIL/objects.yaml
eval_cls EVIL/zip.pth --data EVIL --suite a
eval_cls EVIL/zip.pth --data EVIL --suite a --config EVIL/objects.yaml
paper tables --benchmark 224:EVIL/data.pkl
paper roadmap --regime resnet50 --results EVIL/data.pkl
browse_data SHAPES --out OUT --data-root DATA --cfg-options train_dataloader.dataset.ann_file=EVIL/data.pkl
browse_data SHAPES --out OUT --train-json EVIL/text.json --images EVIL/picture
browse_data EVIL/objects.yaml --out OUT
benchmark data SHAPES --data-root DATA --cfg-options train_dataloader.dataset.ann_file=EVIL/data.pkl
benchmark detect EVIL/objects.yaml
print_lr SHAPES --cfg-options train_dataloader.dataset.ann_file=EVIL/data.pkl
print_lr EVIL/objects.yaml
print_config EVIL/objects.yaml
print_config EVIL/based.py
convert_weights EVIL/zip.pth OUT.pth --to timm
convert_weights EVIL/old.pth OUT.pth --to timm
""".strip().splitlines()  # noqa: E501


def slow(line: str) -> bool:
    """Those that build the whole model before they read the file: one of them is enough."""
    return "--load-from" in line or "--resume EVIL" in line


@pytest.mark.parametrize(
    "line",
    [pytest.param(one, marks=pytest.mark.slow) if slow(one) else one for one in REFUSED],
)
def test_every_tool_refuses_them(run, evil, line):
    code, said = run(line.replace(" a=1", " train_cfg.val_interval=1"))
    assert not (evil / "marker").exists()
    assert code == 2, said[-3000:]
    errors = [text for text in said.splitlines() if text.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in said, said[-3000:]


@pytest.mark.parametrize(
    "line", ["paper tables --table 7 --runs EVIL", "report EVIL/run --out OUT.html"]
)
def test_work_folders_of_others_are_read_as_data(run, evil, line):
    code, said = run(line)
    assert not (evil / "marker").exists()
    assert code in (0, 2) and "Traceback" not in said


def assert_refused(evil: Path) -> None:
    """mmengine refuses both: the second fence, for whatever no config entry shows."""
    with pytest.raises(UserError, match="could run code, and is not read"):
        load_file(str(evil / "data.pkl"))
    with pytest.raises(UserError, match="could not determine a constructor"):
        load_file(str(evil / "objects.yaml"))
    assert not (evil / "marker").exists()


def assert_a_user_loads(folder: Path) -> None:
    """His results, and what else mmengine reads."""
    for name in ("results.pkl", "results.pickle", "results.yaml", "results.yml"):
        dump({"boxes": (1, 2)}, str(folder / name))
        assert load_file(str(folder / name)) == {"boxes": (1, 2)}


def readers() -> tuple:
    """What mmengine reads files and checkpoints with."""
    return dict(file_handlers), dict(CheckpointLoader._schemes), yaml.SafeLoader.yaml_constructors


def test_a_run_reads_no_pickles(evil, tmp_path):
    before = readers()
    with safe_reading():
        assert readers() != before
        assert_refused(evil)
        with safe_reading():  # a tool, and in it a runner
            pass
        assert_refused(evil)
    assert readers() == before
    assert_a_user_loads(tmp_path)


def test_a_refusal_ends_with_the_run(evil, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        run_command(lambda: load_file(str(evil / "data.pkl")))
    assert end.value.code == 2 and "could run code" in capsys.readouterr().err
    assert_a_user_loads(tmp_path)


RUNNER = DenseRunner.__new__(DenseRunner)
RUNNER.model = RUNNER._val_loop = RUNNER._test_loop = object()
TRAINED = SimpleNamespace(network=SimpleNamespace(working=partial(Detector.working, None)))
PREDICTOR = SimpleNamespace(network=SimpleNamespace(reading=None))
ENTRIES = [  # what a user may call -> something that it calls
    (config_load.load_config, (SHAPES,), "convnext_dense.config.load.require_toolbox"),
    (read_config, (SHAPES,), "mmengine.config.Config.fromfile"),
    (train.train, (TrainFlags(SHAPES),), "convnext_dense.cli.train.load_settings"),
    (test.test, (test.TestFlags(SHAPES, ""),), "convnext_dense.cli.test.checkpoint_of"),
    (
        browse,
        (ConfigDict(default_scope="mmdet"), "train", None, 1, 0),
        "convnext_dense.browse.samples_page._browse",
    ),
    (data_loading.measure, (SHAPES,), "convnext_dense.benchmark.data_loading.load_fitted_config"),
    (
        memory._peak_here,
        (None, "cpu", None),
        "convnext_dense.benchmark.memory.give_freed_memory_back",
    ),
    (Predictor, (SHAPES, "a.pth"), "convnext_dense.inference.trained.opening.read_checkpoint"),
    (Predictor.__call__, (PREDICTOR, "a.jpg"), "convnext_dense.predictor.read_image"),
    (load, ("a.pth",), "convnext_dense.inference.trained.opening.read_checkpoint"),
    (
        Model._window,
        (TRAINED, (), Whole(None, False, False), None, None),
        "convnext_dense.inference.steps.Whole.predict",
    ),
    (DenseRunner, (None, "a"), "mmengine.mkdir_or_exist"),
    (DenseRunner.build_dataloader, ({},), "mmengine.runner.Runner.build_dataloader"),
    (RUNNER.build_evaluator, ({"type": "A"},), "mmengine.registry.METRICS.build"),
    (RUNNER.train, (), "mmengine.runner.runner.is_model_wrapper"),
    (RUNNER.val, (), "convnext_dense.engine.DenseRunner.build_val_loop"),
    (RUNNER.test, (), "convnext_dense.engine.DenseRunner.build_test_loop"),
]


@pytest.mark.parametrize(("entry", "arguments", "inner"), ENTRIES)
def test_what_a_user_calls_refuses_by_itself(evil, tmp_path, monkeypatch, entry, arguments, inner):
    """Without a tool around it."""
    with monkeypatch.context() as patch, pytest.raises(UserError, match="could run code"):
        patch.setattr(inner, lambda *args, **kwargs: load_file(str(evil / "data.pkl")))
        entry(*arguments)
    assert not (evil / "marker").exists()
    assert_a_user_loads(tmp_path)


class Reading(Numbers):
    """Twelve numbers; each of them reads a file first, and so does the set."""

    def __init__(self, path: Path, at: str) -> None:
        super().__init__()
        self.path, self.at = str(path), at
        self.read_file("set")

    def read_file(self, place: str) -> None:
        if place == self.at:
            load_file(self.path)

    def __getitem__(self, index: int) -> torch.Tensor:
        self.read_file("item")
        return super().__getitem__(index)


def loader_of(dataset: Dataset, **options) -> dict:
    sampler = dict(type="DefaultSampler", shuffle=False)
    return dict(dataset=dataset, batch_size=2, num_workers=0, sampler=sampler, **options)


class ReadingMetric(BaseMetric):
    """Reads a file where it is told to."""

    def __init__(self, path: Path, at: str) -> None:
        super().__init__()
        self.path, self.at = str(path), at
        self.compute_metrics([], "metric")

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results, place: str = "figures") -> dict:
        if place == self.at:
            load_file(self.path)
        return {"score": 1.0}


@pytest.fixture
def _registered():
    for registry_, kind in ((DATASETS, Reading), (METRICS, ReadingMetric)):
        registry_.register_module(module=kind, force=True)


@pytest.mark.usefixtures("_registered")
@pytest.mark.parametrize("at", ["set", "item", "metric", "figures", "nowhere"])
def test_a_runner_refuses_until_it_is_done(evil, tmp_path, at):
    """A notebook that trains, then loads results of its own."""

    def train() -> None:
        run_line(
            tmp_path / at,
            dict(type="ResumableEpochLoop", max_epochs=1),
            train_dataloader=loader_of(
                dict(type="Reading", path=evil / "data.pkl", at=at),
                collate_fn=dict(type="default_collate"),
            ),
            val_dataloader=loader_of(Numbers()),
            val_cfg=dict(type="ValLoop"),
            val_evaluator=dict(type="ReadingMetric", path=evil / "data.pkl", at=at),
        )

    if at == "nowhere":
        train()
    else:
        with pytest.raises(UserError, match="could run code, and is not read"):
            train()
    assert not (evil / "marker").exists()
    assert_a_user_loads(tmp_path)


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_process_that_loads_data_refuses_to_its_end(evil, tmp_path, start):
    """Also of a loader that a user goes through by himself, in a process that he loads in."""
    options = loader_of(Reading(evil / "data.pkl", "item"), multiprocessing_context=start)
    loader = DenseRunner.build_dataloader({**options, "num_workers": 1})
    with pytest.raises(UserError, match="could run code, and is not read"):
        next(iter(loader))
    assert not (evil / "marker").exists()
    assert_a_user_loads(tmp_path)


PLAIN = {
    "default_scope": "mmdet",
    "model": {"type": "FasterRCNN"},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"custom_imports": {"imports": ["os"]}}, "wants 'os' imported"),
        ({"custom_imports": {"imports": "antigravity"}}, "wants 'antigravity' imported"),
        ({"default_scope": "evil"}, "wants 'evil' imported"),
        ({"model": {"type": "A", "_scope_": "evil"}}, "wants 'evil' imported"),
        ({"_base_": ["evil.py"]}, "names a _base_"),
    ],
)
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_plain_config_imports_nothing(run, tmp_path, change, said, suffix):
    path = tmp_path / f"plain{suffix}"
    path.write_text(json.dumps({**PLAIN, **change}))  # JSON is YAML
    code, error = run(f"print_config {path}")
    assert code == 2 and said in error


@pytest.mark.parametrize("kind", ["subprocess.Popen", "mmengine.utils.misc.import_modules", "os"])
def test_a_plain_config_builds_what_is_registered(run, tmp_path, kind):
    """mmengine would import whatever a type names."""
    assert registry.get_object_from_string("subprocess.Popen") is subprocess.Popen
    path = tmp_path / "plain.json"
    path.write_text(json.dumps(PLAIN))
    assert run(f"print_config {path}")[0] == 0
    with pytest.raises(KeyError, match="is not in the"):
        FUNCTIONS.build(dict(type=kind))


def test_references_in_yaml_are_not_followed(run, tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text("a: &a [1, 2]\nb: [*a, *a]\n")
    code, error = run(f"print_config {path}")
    assert code == 2 and "references (*name) are not read" in error
