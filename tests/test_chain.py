"""Pretrain, hand over to a detector and a segmentor, test both in several views: the commands."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from convnext_dense.data.shapes.dataset import prepare_shapes
from tests.running import ROOT, run

TINY = "backbone=dict(arch=dict(_delete_=True, depths=(1, 1, 2, 1), dims=(8, 8, 16, 16)))"
# Name -> what makes the recipe small. The backbone must be the same in all of them.
MINIATURES = {
    "classification/convnext_a_shapes": f"model = dict({TINY})",
    "detection/mask_rcnn_convnext_a_shapes": (
        f"model = dict({TINY}, neck=dict(in_channels=[8, 8, 16, 16]),"
        " test_cfg=dict(rcnn=dict(max_per_img=3)))\n"
        "tta_views = dict(scales=[(96, 128), (128, 171)])"
    ),
    "segmentation/upernet_convnext_a_shapes": (
        f"model = dict({TINY}, decode_head=dict(in_channels=[8, 8, 16, 16]),"
        " auxiliary_head=dict(in_channels=16))\n"
        "tta_views = dict(ratios=(0.75, 1.0))"
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """``data/shapes``, and the miniatures' configs beside it."""
    folder = tmp_path_factory.mktemp("chain")
    drawn = prepare_shapes(folder, train=4, val=2, cls_train=4, cls_val=1)
    (folder / "data").mkdir()
    drawn.rename(folder / "data/mini")
    for name, change in MINIATURES.items():
        text = f'_base_ = ["{ROOT}/configs/{name}.py"]\n{change}\n'
        for split in ("train", "val", "test"):
            place = "mini"
            if name.startswith("classification"):
                place = f"mini/cls/{'train' if split == 'train' else 'val'}"
            text += f'{split}_dataloader = dict(dataset=dict(data_root="{place}"))\n'
        (folder / f"{Path(name).name}.py").write_text(text)
    return folder


def run_in(folder: Path, tool: str, config: str, *flags) -> str:
    return run(tool, f"{Path(config).name}.py", "--data-root", "data", *flags, cwd=folder)


@pytest.fixture(scope="module")
def pretrained(folder) -> Path:
    classifier = next(iter(MINIATURES))
    run_in(folder, "pretrain_cls", classifier, "--max-iters", 2, "--work-dir", "cls", "--seed", 0)
    return folder / "cls"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "figure"), [(list(MINIATURES)[1], "segm_mAP"), (list(MINIATURES)[2], "mIoU")]
)
def test_from_pretraining_to_a_test_in_several_views(folder, pretrained, config, figure):
    task = config.split("/")[0]
    output = run_in(
        folder, "train", config, "--max-iters", 1, "--work-dir", task, "--backbone-weights", "cls"
    )
    assert re.search(r"new by design: norm0\.weight", output)
    output = run_in(folder, "test", config, task, "--tta", "--work-dir", f"{task}_tta")
    metrics = json.loads((folder / f"{task}_tta/metrics.json").read_text())
    assert metrics[figure] is not None and metrics["tta_views"] == 4
    assert f"{figure} {metrics[figure]:.3f}" in output


def test_the_chain_of_the_makefile_is_this_one():
    dry = subprocess.run(
        ["make", "-n", "chain", "CHAIN_DIR=W", "VENV=V"], capture_output=True, text=True, cwd=ROOT
    )
    assert dry.returncode == 0, dry.stderr
    text = dry.stdout.replace("\\\n", " ")
    tools = re.findall(r"tools/(\w+)\.py configs/([\w/]+)\.py", text)
    classifier, *dense = MINIATURES
    expected = [("pretrain_cls", classifier)]
    expected += [(tool, config) for config in dense for tool in ("train", "test")]
    assert tools == expected
    assert text.count("--backbone-weights W/cls") == 2 and text.count("--tta") == 2
