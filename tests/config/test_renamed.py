"""Work folders of the version before the rooms: their configs load, their runs go on."""

import shutil
from pathlib import Path

import pytest
import torch
from mmengine.registry import DATASETS, HOOKS, MODELS

from convnext_dense.config import renamed
from convnext_dense.config.load import load_config
from convnext_dense.config.reading import read_config
from convnext_dense.data.shapes.dataset import prepare_shapes
from tests.running import run

OLD = Path(__file__).parents[1] / "data" / "run_before_rooms"
CONFIGS = sorted(path.name for path in OLD.glob("*.py"))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A data root with little data like the embedded one."""
    folder = tmp_path_factory.mktemp("old")
    prepare_shapes(folder, train=6, val=4, cls_train=16, cls_val=8).rename(folder / "mini")
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    """The work folder of a classification run of two iterations, as it was left."""
    copy = tmp_path / "run"
    shutil.copytree(OLD, copy)
    (copy / "last_checkpoint").write_text(str(copy / "iter_2.pth"))
    return copy


def loader_options(*splits: str) -> list[str]:
    options = {"num_workers": 0, "persistent_workers": False}
    return [
        f"{split}_dataloader.{name}={value}"
        for split in splits
        for name, value in {
            **options,
            "dataset.data_root": f"mini/cls/{'train' if split == 'train' else 'val'}",
        }.items()
    ]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_resolved_config_has_the_present_names(name):
    text = (OLD / name).read_text()
    assert "'CheckpointHook'" in text and "'NumbersHook'" in text  # it is an old one
    cfg = load_config(OLD / name)  # checks every type
    assert not any(f"'{old}'" in cfg.pretty_text for old in renamed.TYPES)
    assert cfg.default_hooks.checkpoint.type == "WholeCheckpointHook"


def test_an_old_name_in_an_option_is_the_present_one():
    options = {"custom_hooks.6.type": "NumbersHook", "custom_hooks.6.limit": 3}
    cfg = load_config(OLD / "convnext_a_shapes.py", cfg_options=options)
    assert cfg.custom_hooks[6] == dict(type="FiniteChecksHook", limit=3)


def test_every_present_name_is_registered():
    for name in CONFIGS:
        load_config(OLD / name)  # imports what registers
    registries = [*{id(r): r for r in (HOOKS, MODELS, DATASETS)}.values()]
    from mmengine.registry import DATA_SAMPLERS, FUNCTIONS, TRANSFORMS, VISBACKENDS

    registries += [DATA_SAMPLERS, FUNCTIONS, TRANSFORMS, VISBACKENDS]
    for new in renamed.TYPES.values():
        assert any(registry.get(new) is not None for registry in registries), new


def test_every_present_module_is_there(tmp_path):
    path = tmp_path / "old.py"
    path.write_text(f"custom_imports = dict(imports={sorted(renamed.MODULES)!r})\nmodel = dict()\n")
    imports = read_config(path).custom_imports.imports
    assert sorted(imports) == sorted(renamed.MODULES.values())
    for name in imports:
        __import__(name)


def test_an_old_run_goes_on(folder, root):
    before = torch.load(folder / "iter_2.pth", weights_only=False)["meta"]["iter"]
    config = folder / "convnext_a_shapes.py"
    flags = ["--data-root", root, "--work-dir", folder, "--resume"]
    flags += ["--cfg-options", "train_cfg.max_iters=4", *loader_options("train", "val")]
    output = run("pretrain_cls", config, *flags)
    assert before == 2 and "resumed epoch: 0, iter: 2" in output
    assert (folder / "iter_4.pth").is_file()
    assert not (folder / "iter_2.pth").exists()


def test_an_old_checkpoint_is_tested(folder, root, tmp_path):
    flags = ["--data-root", root, "--work-dir", tmp_path / "test"]
    flags += ["--cfg-options", *loader_options("test")]
    assert "top1" in run("test", folder / "convnext_a_shapes.py", folder, *flags)
