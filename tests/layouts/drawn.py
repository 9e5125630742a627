"""Scenes that the tests write in the layouts of tools and datasets, and what is loaded of them."""

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from convnext_dense.config.config_tree import datasets
from convnext_dense.config.load import load_config
from convnext_dense.data.check_images import build_dataset
from convnext_dense.data.labels.fit_config import fit_to_labels
from convnext_dense.data.own import flags as own_data_flags
from convnext_dense.data.own.own_data import use_own_data
from tests.datasets.test_labels import SHAPES
from tests.datasets.test_own_data import TRAINING, parse

SIZE = (40, 30)  # width, height
COLOURS = ((0, 0, 0), (128, 64, 128), (70, 70, 70), (107, 142, 35))


def scene(seed: int, classes: int = 4) -> np.ndarray:
    """Labels (height, width) of blocks: each class is somewhere."""
    rng = np.random.default_rng(seed)
    blocks = rng.permutation(np.arange(20) % classes).reshape(4, 5)
    return np.kron(blocks, np.ones((8, 8), np.uint8))[: SIZE[1], : SIZE[0]].astype(np.uint8)


def save(path: Path, pixels: np.ndarray, palette: list[int] | None = None) -> Path:
    """Writes an image, of indices with a palette where one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette)
    image.save(path)
    return path


def save_image(path: Path, seed: int = 0) -> Path:
    """Writes an image of noise."""
    rng = np.random.default_rng(seed)
    return save(path, rng.integers(0, 255, (*SIZE[::-1], 3), np.uint8))


@cache
def _shipped():
    return load_config(SHAPES)


def load(folder: Path, *arguments, splits=TRAINING, options=None, **changes):
    """The config that flags make; files that are made of the data go to ``folder``."""
    own = own_data_flags.from_args(parse(*arguments), splits)
    cfg = copy.deepcopy(_shipped())
    use_own_data(cfg, replace(own, folder=folder, **changes), options or {})
    fit_to_labels(cfg, splits)
    return cfg


def loaded(cfg, split: str = "train") -> dict[str, np.ndarray]:
    """What a split's pipeline reads: the labels of each image, by its file's name."""
    (data,) = datasets(cfg, split)
    steps = [step for step in data.pipeline if step["type"] in ("LoadImage", "LoadLabels")]
    built = build_dataset(cfg, data, pipeline=steps, serialize_data=False)  # quicker
    samples = [built[number] for number in range(len(built))]
    return {Path(sample["img_path"]).name: sample["gt_seg_map"] for sample in samples}


def classes_of(cfg, split: str = "train") -> tuple[str, ...]:
    """The class names of a split."""
    (data,) = datasets(cfg, split)
    return tuple(data.metainfo.classes)
