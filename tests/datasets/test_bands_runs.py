"""Training, test and prediction with images of 1, 2, 4 and 8 bands, as the tools do it."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

import convnext_dense as cd
from convnext_dense.data.images import read_bands
from convnext_dense.errors import UserError
from tests.miniature import CONFIGS, SHAPES
from tests.running import run
from tests.tiff import write_tiff

SEGMENTOR = CONFIGS.parent / "segmentation/upernet_convnext_a_shapes.py"


def to_bands(image: np.ndarray, bands: int, kind: str) -> np.ndarray:
    """An RGB image as one of other bands: mixtures of its colours, 12 bits in uint16."""
    mixed = np.stack([image[..., i % 3] * (1 - i / 20) for i in range(bands)], axis=2)
    if kind == "uint8":
        return mixed.astype(np.uint8)
    if kind == "float32":
        return (mixed / 255 * 8 - 3).astype(np.float32)
    return (mixed * 16).astype(kind)


def convert_folder(folder: Path, bands: int, kind: str) -> None:
    """Replaces the images of a folder by TIFFs of some bands."""
    for path in folder.rglob("*.jpg"):
        pixels = to_bands(np.asarray(Image.open(path).convert("RGB"), float), bands, kind)
        write_tiff(path.with_suffix(".tif"), pixels)
        path.unlink()


def detection(birds: Path, bands: int, kind: str) -> tuple[Path, list, list]:
    convert_folder(birds / "images", bands, kind)
    for split in ("train", "val"):
        file = birds / f"{split}.json"
        file.write_text(file.read_text().replace(".jpg", ".tif"))
    images = ["--images", birds / "images"]
    train = ["--train-json", birds / "train.json", "--val-json", birds / "val.json", *images]
    return SHAPES, train, ["--val-json", birds / "val.json", *images]


def segmentation(streets: Path, bands: int, kind: str) -> tuple[Path, list, list]:
    convert_folder(streets / "images", bands, kind)
    flags = ["--images", streets / "images", "--labels", streets / "labels"]
    return SEGMENTOR, flags, flags


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("task", "bands", "kind"),
    [
        slow("segmentation", 8, "uint16"),
        slow("detection", 4, "uint16"),
        *(slow("detection", bands, kind) for bands, kind in ((1, "uint8"), (2, "float32"))),
        *(slow("detection", bands, kind) for bands, kind in ((8, "int16"), (3, "uint16"))),
        *(slow("segmentation", bands, kind) for bands, kind in ((1, "int16"), (2, "uint8"))),
        *(slow("segmentation", bands, kind) for bands, kind in ((4, "float32"), (3, "float32"))),
    ],
)
def test_a_run_from_images_to_predictions(task, bands, kind, request, tmp_path):
    folder = request.getfixturevalue({"detection": "birds", "segmentation": "streets"}[task])
    config, train, test = {"detection": detection, "segmentation": segmentation}[task](
        folder, bands, kind
    )
    work = tmp_path / "run"
    limits = ["--max-iters", 2, "--seed", 0, "--work-dir", work]
    small = "train_dataloader.batch_size=2"
    printed = run("train", config, *train, *limits, "--cfg-options", small)
    assert f"mages of {bands} bands of {kind}" in printed
    cfg = Config.fromfile(work / f"{config.stem}.py")
    assert cfg.model.backbone.get("in_channels", 3) == bands

    # The normalisation is that of the training images, read and scaled as the config says.
    load = cfg.train_dataloader.dataset.pipeline[0]
    files = sorted(folder.rglob("images/**/*.tif"))
    files = [f for f in files if f.name.startswith("train") or f.parent.name == "train"]
    low, high = load.get("value_range", (0, 255))
    pixels = [read_bands(f).pixels.reshape(-1, bands).astype(float) for f in files]
    scaled = (np.concatenate(pixels) - low) / (high - low) * 255
    assert np.allclose(cfg.model.data_preprocessor.mean, scaled.mean(axis=0), atol=0.01)
    assert np.allclose(cfg.model.data_preprocessor.std, scaled.std(axis=0), atol=0.01)
    if kind == "uint16":
        assert (low, high) == (0, 4095)

    drawn = ["--show-dir", tmp_path / "drawn"]
    tested = run("test", config, work, *test, "--work-dir", tmp_path / "test", *drawn)
    assert len([*(tmp_path / "drawn").iterdir()]) == 6
    assert "metrics.json" in tested
    figures = json.loads((tmp_path / "test/metrics.json").read_text())
    assert all(np.isfinite(v) for v in figures.values() if isinstance(v, float))

    run("predict", work, files[0].parent, "--out", tmp_path / "out")
    assert (tmp_path / f"out/{files[0].stem}.jpg").is_file()

    model = cd.load(work)
    from_file = model(files[0])
    from_memory = model(read_bands(files[0]).pixels)
    assert from_file.image.shape[2] == 3 and from_file.image.dtype == np.uint8
    assert from_file.describe() == from_memory.describe()
    if bands == 8:
        with pytest.raises(UserError, match="3 bands, but the model takes 8 channels"):
            model(np.zeros((40, 50, 3), np.uint8))
