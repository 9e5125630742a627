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
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmengine.fileio import load
from mmengine.registry import FUNCTIONS, registry

from convnext_dense.errors import UserError
from tests.engine.conftest import SHAPES

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
    (folder / "picture").mkdir()
    cv2.imwrite(str(folder / "picture/a.jpg"), np.zeros((64, 64, 3), np.uint8))
    run = folder / "run"
    (run / "20260101_000000/vis_data").mkdir(parents=True)
    (run / "epoch_1.pth").write_bytes((folder / "zip.pth").read_bytes())
    (run / "last_checkpoint").write_text("epoch_1.pth")
    (run / "config.py").write_text(f"import os\nos.system({command!r})\nmodel = dict()\n")
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


def test_mmengine_reads_no_pickles(evil):
    """The second fence, for whatever no config entry shows."""
    with pytest.raises(UserError, match="could run code, and is not read"):
        load(str(evil / "data.pkl"))
    with pytest.raises(UserError, match="could not determine a constructor"):
        load(str(evil / "objects.yaml"))
    assert not (evil / "marker").exists()


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
