"""docs/custom_dataset.md: its commands, run as written on drawn data."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from convnext_dense.cli import train
from convnext_dense.cli.main import parse_tool
from convnext_dense.cli.shared.settle_arguments import settle_arguments
from convnext_dense.cli.shared.train_flags import TrainFlags
from convnext_dense.cli.shared.train_settings import fit_settings, load_settings
from convnext_dense.data.shapes.dataset import prepare_shapes

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/custom_dataset.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(kind: str) -> list[list[str]]:
    """The commands of the doc's fenced blocks of one kind, line by line."""
    blocks = re.findall(rf"^```{kind}\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A working folder with ``street/`` and ``camvid/`` of drawn images, tools and configs."""
    root = tmp_path_factory.mktemp("doc")
    drawn = prepare_shapes(root / "data", train=10, val=6, cls_train=1, cls_val=1)
    (root / "street/images").mkdir(parents=True)
    (root / "street/new").mkdir()
    for split in ("train", "val"):
        content = json.loads((drawn / f"annotations/instances_{split}.json").read_text())
        for image in content["images"]:
            name = f"{split}_{image['file_name']}"
            shutil.copy(drawn / split / image["file_name"], root / "street/images" / name)
            image["file_name"] = name
        (root / f"street/{split}.json").write_text(json.dumps(content))
        shutil.copytree(drawn / split, root / "camvid/images" / split)
        (root / "camvid/labels" / split).mkdir(parents=True)
        for path in (drawn / "labels" / split).glob("*.png"):  # 0: not labelled
            labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) + 1
            labels[:9] = 0
            cv2.imwrite(str(root / "camvid/labels" / split / path.name), labels)
            (root / "roads/masks" / split).mkdir(parents=True, exist_ok=True)
            mask = (labels > 1).astype("uint8") * 255
            cv2.imwrite(str(root / "roads/masks" / split / path.name), mask)
        shutil.copytree(drawn / split, root / "roads/images" / split)
    shutil.copy(drawn / "classes.txt", root / "camvid")
    shutil.copy(root / "street/images" / name, root / "street/new")
    shutil.copytree(root / "street/images", root / "street_coco/images")
    for split in ("train", "val"):
        shutil.copy(root / f"street/{split}.json", root / f"street_coco/{split}.json")
    _write_yolo(root / "yolo", root / "street")
    for name in ("configs", "tools"):
        (root / name).symlink_to(ROOT / name)
    return root


def _write_yolo(target: Path, street: Path) -> None:
    """The boxes of ``street/`` in YOLO's format."""
    for split in ("train", "val"):
        content = json.loads((street / f"{split}.json").read_text())
        places = [category["id"] for category in content["categories"]]
        for kind in ("images", "labels"):
            (target / kind / split).mkdir(parents=True)
        for image in content["images"]:
            name, size = image["file_name"], (image["width"], image["height"])
            shutil.copy(street / "images" / name, target / "images" / split / name)
            lines = []
            for annotation in content["annotations"]:
                if annotation["image_id"] == image["id"]:
                    left, top, width, height = annotation["bbox"]
                    middle = (left + width / 2) / size[0], (top + height / 2) / size[1]
                    row = (*middle, width / size[0], height / size[1])
                    lines.append(f"{places.index(annotation['category_id'])} {row}")
            text = "\n".join(lines).replace("(", "").replace(")", "").replace(",", "")
            (target / "labels" / split / name).with_suffix(".txt").write_text(text)
    names = [category["name"] for category in content["categories"]]
    (target / "data.yaml").write_text(
        f"train: images/train\nval: images/val\nnames: {json.dumps(names)}\n"
    )


def training_flags(command: list[str]) -> TrainFlags:
    """What ``tools/train.py`` reads from a command."""
    _, args = parse_tool("train", command[2:])
    settle_arguments(args)
    return train.read_flags(args)


def test_the_full_trainings_resolve(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    found = commands("sh recipe")
    assert len(found) == 3
    for command in found:
        flags = training_flags(command)
        settled = load_settings(flags)
        fit_settings(settled, flags)
        cfg = settled.cfg
        assert cfg.work_dir == flags.work_dir and cfg.auto_scale_lr.enable
    out = capsys.readouterr().out
    assert "mask_rcnn_convnext_t_1x.py on your data, 6 classes: circle" in out
    assert "x 2 / 16 images" in out and "at least 2,000 steps of 16 images" in out


def test_readme_names_the_same_flags():
    section = README.split("## Train on your own data")[1].split("\n## ")[0]
    assert "docs/custom_dataset.md" in section and len(section.splitlines()) <= 21
    known = set(re.findall(r"--[a-z-]+", TEXT))
    assert set(re.findall(r"--[a-z-]+", section)) <= known


@pytest.mark.slow
def test_the_commands_run(folder):
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
    }
    found = commands("sh")
    assert [Path(command[1]).stem for command in found] == [
        "browse_data", "train", "test", "predict", "test", "browse_data", "train", "test",
        "train", "convert_data", "train", "browse_data", "train",
    ]  # fmt: skip
    for command in found:
        done = subprocess.run(
            [sys.executable, *command[1:]],
            cwd=folder, env=env, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, (command, (done.stdout + done.stderr)[-3000:])
    for path in re.findall(r"--out (\S+)|--work-dir (\S+)", " ".join(map(shlex.join, found))):
        assert any((folder / "".join(path)).iterdir())
    for name in ("street_look", "camvid_look"):
        statistics = json.loads((folder / "work_dirs" / name / "statistics.json").read_text())
        assert statistics["pictures"] == 10
        assert (folder / "work_dirs" / name / "sheet.jpg").is_file()
    metrics = json.loads((folder / "work_dirs/camvid_test/metrics.json").read_text())
    trained = json.loads((folder / "work_dirs/camvid_trial/metrics.json").read_text())
    # 20 passes of 10 images, 2 a step
    assert metrics["mIoU"] == pytest.approx(trained["mIoU"]) and trained["iter"] == 100
    # a step of 4 images in a recipe for 4: the rate is the recipe's, scaled once
    rates = (folder / "work_dirs/street_trial/lr_groups.csv").read_text().splitlines()
    column = rates[0].split(",").index("lr")
    assert max(float(row.split(",")[column]) for row in rates[1:]) == pytest.approx(2e-3)
