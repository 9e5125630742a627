"""Tiny networks, a folder of noisy images, and short trainings on them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convnext_dense.models import Trunk

ARCH = dict(depths=(1, 1, 2, 1), dims=(4, 8, 8, 12))
PREPROCESSOR = dict(type="ViewsPreprocessor")
V1, V2 = dict(layer_scale_init_value=0.7), dict(layer_scale_init_value=0, use_grn=True)
BLOCKS = pytest.mark.parametrize("blocks", [V1, V2], ids=["V1", "V2"])


def randomise(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every parameter at random: norms' biases and GRN start at 0, where faults do not show."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).to(parameter) * 0.4
    return module


def new_trunk(blocks: dict, **options) -> Trunk:
    """A random network in float64."""
    return randomise(Trunk(arch=ARCH, **blocks, **options)).double()


def draw(folder: Path, count: int, size: tuple[int, int] = (40, 48)) -> Path:
    """Noisy images of (width, height), in two folders."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """A folder of 11 images, at any depth, and a text."""
    folder = draw(tmp_path_factory.mktemp("images"), 11)
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="session")
def teacher(tmp_path_factory) -> Path:
    """The file of a teacher of V2 blocks with other widths, as transformers' module has them."""
    network = randomise(Trunk(arch=dict(depths=(1, 2, 1, 1), dims=(6, 8, 10, 16)), **V2), seed=5)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.save({"model": network.state_dict()}, path)
    return path
