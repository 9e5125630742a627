"""docs/other_libraries.md: its code, run as written."""

import re
from pathlib import Path

import pytest
import torch

from convnext_dense.models import ConvNeXt

TEXT = (Path(__file__).parents[1] / "docs/other_libraries.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
SMP = "segmentation_models_pytorch"


def run_blocks(*words: str) -> dict:
    """Runs the page's first block, and those with one of the words, as one program."""
    names: dict = {}
    for block in BLOCKS[:1] + [one for one in BLOCKS[1:] if any(word in one for word in words)]:
        exec(block, names)  # each sees the names of the former ones
    return names


def test_a_loop_a_config_and_an_extractor():
    names = run_blocks("optimizer", "neck=", "create_feature_extractor")
    assert names["loss"].isfinite() and names["head"].weight.grad.abs().sum() > 0
    model = ConvNeXt(**{k: v for k, v in names["model"]["backbone"].items() if k != "type"})
    assert list(model.out_channels) == names["model"]["neck"]["in_channels"]
    assert {name: tuple(one.shape) for name, one in names["maps"].items()} == {
        "deep": (1, 160, 4, 4),
        "last": (1, 320, 2, 2),
    }


@pytest.mark.slow
def test_torchvisions_detectors():
    names = run_blocks("optimizer", "torchvision.models.detection")
    assert len(names["found"]) == 2 and set(names["found"][0]) == {"boxes", "labels", "scores"}
    assert type(names["detector"]).__name__ == "RetinaNet"


def test_segmentation_models_pytorch():
    pytest.importorskip(SMP, reason=f"{SMP} is not installed: pip install {SMP.replace('_', '-')}")
    names = run_blocks("optimizer", SMP)
    model = names["model"]
    assert names["logits"].shape == (2, 5, 128, 192)
    assert all(one.grad is not None for one in model.parameters())
    plain = ConvNeXt("tiny")
    plain.load_state_dict(model.encoder.state_dict())
    x = torch.randn(1, 3, 64, 64)
    for one, other in zip(plain(x), model.encoder(x)[2:], strict=True):
        assert torch.equal(one, other)


def test_every_block_is_run():
    words = ("optimizer", "torchvision.models.detection", SMP, "neck=", "create_feature_extractor")
    assert all(any(word in block for word in words) for block in BLOCKS[1:])
