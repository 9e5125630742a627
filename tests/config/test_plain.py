"""Configs as YAML and JSON: the same runs, in every tool that takes a config."""

import json
import math
import runpy
import sys
from pathlib import Path

import pytest
import yaml
from mmengine.registry import registry

from convnext_dense.benchmark.whole_models import is_config
from convnext_dense.cli.shared.train_flags import TrainFlags
from convnext_dense.cli.shared.train_settings import fit_settings, load_settings
from convnext_dense.config.names import shipped_configs
from convnext_dense.config.plain import format_plain
from convnext_dense.config.reading import read_config
from convnext_dense.engine.runner import DenseRunner
from convnext_dense.errors import UserError
from tests.miniature import SHAPES

TOOLS = Path(__file__).parents[2] / "tools"
FEW = (
    SHAPES.stem,
    "mask_rcnn_swin_t_3x",
    "upernet_convnext_t_512_160k",
    "convnext_t_in1k_300e",
)


@pytest.fixture(autouse=True)
def _registries_stay_open(monkeypatch):
    for name in ("get_object_from_string", "import_module"):
        monkeypatch.setattr(registry, name, getattr(registry, name))


def exported(config: Path, target: Path, monkeypatch, *options: str) -> Path:
    arguments = ["print_config", str(config), "--out", str(target), *options]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(TOOLS / "print_config.py"), run_name="__main__")
    return target


def kinds(node):
    """The types of all values: 1 == 1.0 == True, and a list is no tuple."""
    if isinstance(node, dict):
        return {key: kinds(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return type(node).__name__, [kinds(value) for value in node]
    return type(node).__name__


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(path, id=name, marks=() if name in FEW else pytest.mark.slow)
        for name, path in shipped_configs().items()
    ],
)
def test_nothing_changes_on_the_way(config, tmp_path, monkeypatch):
    expected = read_config(config).to_dict()
    for suffix in (".yaml", ".json"):
        target = exported(config, tmp_path / f"{config.stem}{suffix}", monkeypatch)
        found = read_config(target).to_dict()
        assert found == expected and kinds(found) == kinds(expected)


@pytest.mark.parametrize("suffix", [".yaml", pytest.param(".json", marks=pytest.mark.slow)])
def test_the_run_is_the_same(data_root, options, tmp_path, monkeypatch, suffix):
    """The resolved config of a training, with the data's classes, from either file."""
    plain = exported(SHAPES, tmp_path / f"{SHAPES.stem}{suffix}", monkeypatch)

    def resolved(path: Path):
        root = str(data_root)
        flags = TrainFlags(str(path), data_root=root, seed=1, cfg_options=dict(options))
        settled = load_settings(flags)
        fit_settings(settled, flags)
        return settled.cfg

    one, other = resolved(SHAPES), resolved(plain)
    assert one.to_dict() == other.to_dict() and one.pretty_text == other.pretty_text

    def dumped(cfg, folder: str) -> str:
        runner = DenseRunner.__new__(DenseRunner)
        runner.cfg, runner._work_dir, runner._resume = cfg, tmp_path / folder, False
        runner._work_dir.mkdir()
        runner.dump_config()
        return (runner._work_dir / f"{SHAPES.stem}.py").read_text()

    # the work folder holds the same file, which tools and the report read
    assert dumped(one, "a") == dumped(other, "b")


def test_options_and_printing(monkeypatch, capsys):
    options = ["--cfg-options", "train_dataloader.batch_size=7", "model.backbone.arch=tiny"]
    monkeypatch.setattr(sys, "argv", ["print_config", str(SHAPES), *options])
    runpy.run_path(str(TOOLS / "print_config.py"), run_name="__main__")
    text = capsys.readouterr().out
    content = yaml.load(text.replace("!tuple", ""), Loader=yaml.SafeLoader)
    assert content["train_dataloader"]["batch_size"] == 7
    assert content["model"]["backbone"]["arch"] == "tiny"


def test_numbers_are_pythons(tmp_path):
    """YAML 1.1 takes 1e-4 for a text."""
    path = tmp_path / "a.yaml"
    path.write_text("a: 1e-4\nb: 2E+3\nc: -1.5e3\nd: 1e\ne: !tuple [1, [2, !tuple [3]]]\n")
    assert read_config(path).to_dict() == dict(a=1e-4, b=2e3, c=-1.5e3, d="1e", e=(1, [2, (3,)]))


def test_values_that_only_python_has_are_named():
    with pytest.raises(UserError, match="has no form in JSON"):
        format_plain({"a": len}, ".json")
    with pytest.raises(UserError, match="has no form in YAML"):
        format_plain({"a": len}, ".yaml")
    with pytest.raises(UserError, match="the key 1 is no text"):
        format_plain({"a": {1: 2}}, ".json")
    assert math.isinf(yaml.safe_load(format_plain({"a": math.inf}, ".yaml"))["a"])


@pytest.mark.parametrize("text", ["[1, 2]", "{", "a: [", "", "!!python/tuple [1]", "\x00"])
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_what_is_no_config_is_refused(tmp_path, text, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_text(text)
    with pytest.raises(UserError, match="is no config|is no plain config") as refused:
        read_config(path)
    assert "\n" not in str(refused.value)


def test_plain_configs_are_known_by_their_ending():
    assert is_config("a.yaml") and is_config("a.json") and not is_config("timm:a")
    assert json.loads(format_plain({"a": (1, 2)}, ".json")) == {"a": {"!tuple": [1, 2]}}
