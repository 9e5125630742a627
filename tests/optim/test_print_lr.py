"""tools/print_lr.py: exit codes, JSON, the drawing."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from convnext_dense.models.trunk import VARIANTS
from tests.running import run_apart

TOOL = Path(__file__).parents[2] / "tools" / "print_lr.py"
CONFIG = """
default_scope = "mmdet"
model = dict(type="ConvNeXt", arch="atto")
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",
    optimizer=dict(type="AdamW", lr=2e-4, weight_decay=0.05),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(decay_rate=0.7),
)
param_scheduler = [dict(type="LinearLR", start_factor=0.001, by_epoch=False, end=50)]
train_cfg = dict(by_epoch=False, max_iters=200)
train_dataloader = dict(batch_size=2, dataset=dict(type="CocoDataset", data_root="nowhere/"))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "small.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONVNEXT_DENSE_DATA", raising=False)
    return tmp_path


def run_here(monkeypatch, *arguments: str) -> int:
    """Runs the tool in this process (importing everything anew takes seconds)."""
    monkeypatch.setattr(sys, "argv", [str(TOOL), "small.py", *arguments])
    try:
        runpy.run_path(str(TOOL), run_name="__main__")
    except SystemExit as end:
        return end.code
    return 0


def test_json_is_all_of_stdout(folder):
    options = ["--out", "rates.png", "--cfg-options", "optim_wrapper.optimizer.lr=1e-3"]
    report = json.loads(run_apart("print_lr", "small.py", "--json", *options)[0])
    keys = {"group", "parameters", "num_elements", "lr_scale", "lr", "weight_decay"}
    assert all(set(row) == keys for row in report["groups"])
    assert report["base_lr"] == 1e-3 and report["curve"] == "rates.png"
    assert (folder / "rates.png").read_bytes().startswith(b"\x89PNG")
    layers = 3 + VARIANTS["atto"]["depths"][2] // 3
    assert min(row["lr_scale"] for row in report["groups"]) == 0.7 ** (layers + 1)


def test_the_table_and_the_default_drawing(folder, monkeypatch, capsys):
    assert run_here(monkeypatch) == 0
    out = capsys.readouterr().out
    assert out.split()[0] == "group" and "base lr 0.0002, 200 iterations\n" in out
    assert (folder / "work_dirs" / "print_lr" / "small.png").is_file()


def test_wrong_input_is_one_sentence_and_code_2(monkeypatch, capsys):
    assert run_here(monkeypatch, "--cfg-options", "optim_wrapper.paramwise_cfg.num_layers=12") == 2
    out, err = capsys.readouterr()
    assert out == "" and "num_layers=12 does not fit a ConvNeXt of depths (2, 2, 6, 2)" in err


def test_data_that_is_there_is_counted_and_sets_the_heads(monkeypatch, capsys):
    """On a real detector: the epoch and the box head's size come from the annotation file."""
    pytest.importorskip("mmdet")
    boxes = [
        dict(
            id=i,
            image_id=i,
            category_id=7,
            bbox=[0, 0, 40, 40],
            area=1600,
            iscrowd=0,
            segmentation=[[0, 0, 40, 0, 40, 40]],
        )
        for i in range(1, 34)
    ]
    Path("data/coco/annotations").mkdir(parents=True)
    Path("data/coco/train2017").mkdir()
    for i in range(1, 41):
        Path(f"data/coco/train2017/{i}.jpg").touch()
    Path("data/coco/annotations/instances_train2017.json").write_text(
        json.dumps(
            dict(
                images=[
                    dict(id=i, file_name=f"{i}.jpg", height=64, width=64) for i in range(1, 41)
                ],
                annotations=boxes,
                categories=[dict(id=7, name="gizmo")],
            )
        )
    )
    config = TOOL.parents[1] / "configs" / "detection" / "mask_rcnn_convnext_t_1x.py"
    Path("small.py").write_text(f"_base_ = [{str(config)!r}]")
    assert run_here(monkeypatch, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["iterations_per_epoch"] == 3 and "33 images" in report["epoch_source"]
    assert report["iterations"] == 36
    gizmo = sum(row["num_elements"] for row in report["groups"])
    Path("data/coco/annotations/instances_train2017.json").unlink()
    assert run_here(monkeypatch, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["iterations_per_epoch"] == 7330
    # box head: 79 more scores and 4 x 79 more deltas of 1024 weights and a bias; mask head: 256
    assert sum(row["num_elements"] for row in report["groups"]) - gizmo == 79 * (5 * 1025 + 257)
