"""From the image to the heads: images are passed as uint8, feature maps are channels-last."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from convnext_dense.benchmark import whole_models

CONFIGS = Path(__file__).parents[2] / "configs"
DETECTOR = str(CONFIGS / "detection/cascade_convnext_a_shapes.py")
SEGMENTOR = str(CONFIGS / "segmentation/upernet_convnext_a_shapes.py")
RECIPES = (
    "detection/cascade_convnext_t_3x.py",
    "segmentation/upernet_convnext_t_512_160k.py",
)


@pytest.mark.parametrize("path", RECIPES)
def test_images_are_passed_as_uint8_and_are_normalised_by_the_model(path):
    cfg = deepcopy(whole_models.read_config(str(CONFIGS / path)))
    packs = [
        step
        for loader in (cfg.train_dataloader, cfg.test_dataloader)
        for step in loader.dataset.pipeline
        if "Pack" in step["type"] or "Normalize" in step["type"]
    ]
    assert len(packs) == 2 and not any("Normalize" in step["type"] for step in packs)
    whole = object.__new__(whole_models.WholeModel)  # the network is not needed
    whole.scope, whole.packing = cfg.default_scope, packs[1]
    batch = whole_models.WholeModel.batch(whole, 2, (64, 96))
    assert all(one.dtype == torch.uint8 for one in batch["inputs"])
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        preprocessor = MODELS.build(cfg.model.data_preprocessor)
    pixels = np.stack([one.numpy() for one in batch["inputs"]])[:, ::-1].astype(float)  # BGR
    mean, std = (np.array(cfg.model.data_preprocessor[key]) for key in ("mean", "std"))
    expected = (pixels - mean[:, None, None]) / std[:, None, None]
    found = preprocessor(batch, training=False)["inputs"]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy()[..., :64, :96], expected, atol=1e-5)


def is_channels_last(maps) -> list[bool]:
    last = torch.channels_last
    return [one.is_contiguous(memory_format=last) and not one.is_contiguous() for one in maps]


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("path", [DETECTOR, SEGMENTOR])
def test_feature_maps_are_channels_last_from_the_backbone_to_the_heads(path, dtype):
    cfg = deepcopy(whole_models.read_config(path))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model).eval()
    inputs = torch.rand(2, 3, 128, 160)
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        maps = model.backbone(inputs)
        assert is_channels_last(maps) == [True] * 4
        if model.with_neck:
            maps = model.neck(maps)
            assert is_channels_last(maps) == [True] * 5
            outputs = [one for kind in model.rpn_head(maps) for one in kind]
        else:
            outputs = [model.decode_head(maps)]
    assert all(is_channels_last(outputs))
    assert {one.dtype for one in outputs} == {dtype}
