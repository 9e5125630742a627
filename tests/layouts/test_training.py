"""Label images in two layouts, through the commands: train, resume, test, look at them."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.test_labels import SHAPES
from tests.layouts.drawn import COLOURS, save, save_image, scene
from tests.running import run

NAMES = ("background", "road", "house", "tree")
pytestmark = pytest.mark.slow  # equal arrays and labels: the other tests of this folder
SMALL = ["--cfg-options", "train_dataloader.batch_size=2", "val_dataloader.dataset.indices=2"]


def write_city(root: Path) -> list:
    for split, seeds in (("train", range(4)), ("val", range(4, 6))):
        for seed in seeds:
            stem = f"{split}/bonn/bonn_{seed:06}_000019"
            save_image(root / f"leftImg8bit/{stem}_leftImg8bit.png", seed)
            save(root / f"gtFine/{stem}_gtFine_labelTrainIds.png", scene(seed))
    (root / "classes.txt").write_text("\n".join(NAMES))
    return ["--train-data", root]


def write_colours(root: Path) -> list:
    """The same images and labels as colours in one pile; lists name the splits."""
    for seed in range(6):
        save_image(root / f"bonn_{seed:06}.png", seed)
        save(root / f"bonn_{seed:06}_mask.png", np.array(COLOURS, np.uint8)[scene(seed)])
    rows = [f"{n},{','.join(map(str, c))}" for n, c in zip(NAMES, COLOURS, strict=True)]
    (root / "palette.csv").write_text("\n".join(rows))
    (root / "train.txt").write_text("\n".join(f"bonn_{seed:06}" for seed in range(4)))
    (root / "val.txt").write_text("\n".join(f"bonn_{seed:06}" for seed in range(4, 6)))
    flags = ["--train-list", root / "train.txt", "--val-list", root / "val.txt"]
    return ["--train-data", root, "--palette", root / "palette.csv", *flags]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The losses of both, and the work folder of the second."""
    folder, losses = tmp_path_factory.mktemp("layouts"), []
    for name, write in (("city", write_city), ("colours", write_colours)):
        flags = write(folder / name)
        work = folder / f"run of {name}"
        arguments = ["--max-iters", 2, "--seed", 1, "--work-dir", work, *SMALL]
        output = run("train", SHAPES, *flags, *arguments)
        assert "4 images of train and 2 images of val" in output
        lines = next(work.rglob("scalars.json")).read_text().splitlines()
        losses.append([row["loss"] for row in map(json.loads, lines) if "loss" in row])
    return losses, work, flags


def test_two_layouts_of_the_same_labels_train_alike(trained):
    losses, _, _ = trained
    assert len(losses[0]) == 2 and losses[0] == losses[1]


@pytest.mark.slow
def test_a_run_is_resumed_and_tested(trained, tmp_path):
    _, work, flags = trained
    before = (work / "data/train_pairs.json").read_bytes()
    output = run("train", SHAPES, *flags, "--resume", "--max-iters", 3, "--seed", 1,
                 "--work-dir", work, *SMALL)  # fmt: skip
    assert "iter: 2" in output and (work / "data/train_pairs.json").read_bytes() == before
    resolved = work / f"{SHAPES.stem}.py"
    run("test", resolved, work, "--limit", 2, "--work-dir", tmp_path / "test", cwd=tmp_path)
    metrics = json.loads((tmp_path / "test/metrics.json").read_text())
    assert tuple(metrics["per_class"]) == NAMES


@pytest.mark.slow
def test_samples_are_shown(trained, tmp_path):
    _, _, flags = trained
    run("browse_data", SHAPES, *flags, "--out", tmp_path / "b", "--number", 2)
    statistics = json.loads((tmp_path / "b/statistics.json").read_text())
    assert statistics["pictures"] == 4
    pixels = np.stack([scene(seed) for seed in range(4)])
    for label, name in enumerate(NAMES):
        assert statistics["classes"][name]["share"] == pytest.approx((pixels == label).mean())
