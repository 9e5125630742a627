"""Masked feature maps: nothing of a masked patch is seen, and all else is a sparse convolution."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.models.fast import cpu_path
from convnext_dense.self_supervised.masking import (
    check_patch_size,
    choose_patch_size,
    draw_visible,
    masked_stage_maps,
    resize_mask,
)
from tests.self_supervised.conftest import ARCH, BLOCKS, V1, V2, new_trunk

PATCHES = pytest.mark.parametrize("patch", [8, 32])
Sparse = dict[tuple[int, int], np.ndarray]  # features of active positions


def scene(patch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of 64 x 64 pixels in float64, and their visible patches."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    images = torch.randn(2, 3, 64, 64, generator=generator, dtype=torch.double)
    return images, draw_visible(2, (64 // patch, 64 // patch), 0.6, "cpu")


@PATCHES
@BLOCKS
@pytest.mark.parametrize("dtype", [torch.float32, torch.double])
def test_masked_pixels_are_never_seen(blocks, patch, dtype):
    trunk = new_trunk(blocks).to(dtype)
    images, visible = scene(patch)
    images = images.to(dtype)
    hidden = ~resize_mask(visible, (64, 64))
    other = torch.where(hidden, torch.randn_like(images) * 1e3, images)
    assert not torch.equal(images, other)
    for one, two in zip(
        masked_stage_maps(trunk, images, visible),
        masked_stage_maps(trunk, other, visible),
        strict=True,
    ):
        assert torch.equal(one, two)
        masked = ~resize_mask(visible, one.shape[-2:])
        assert not one.masked_select(masked).any() and one.masked_select(~masked).any()


@PATCHES
@BLOCKS
def test_no_gradient_reaches_masked_pixels(blocks, patch):
    images, visible = scene(patch)
    images.requires_grad_()
    *_, last = masked_stage_maps(new_trunk(blocks), images, visible)
    last.square().sum().backward()
    reached = images.grad.abs().amax(1, keepdim=True) > 0
    assert torch.equal(reached, resize_mask(visible, (64, 64)))


@BLOCKS
def test_nothing_masked_is_the_plain_network(blocks):
    trunk = new_trunk(blocks)
    images, _ = scene(32)
    everything = torch.ones(2, 1, 2, 2, dtype=torch.bool)
    for one, two in zip(
        masked_stage_maps(trunk, images, everything), trunk.stage_maps(images), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


@PATCHES
@BLOCKS
def test_it_is_a_sparse_convolution(blocks, patch):
    trunk = new_trunk(blocks)
    images, visible = scene(patch)
    with torch.no_grad():
        maps = [*masked_stage_maps(trunk, images, visible)]
        for number in range(2):
            expected = sparse_stage_maps(trunk, images[number].numpy(), visible[number, 0].numpy())
            for found, sparse in zip(maps, expected, strict=True):
                dense = np.zeros(found[number].shape)
                for (y, x), values in sparse.items():
                    dense[:, y, x] = values
                np.testing.assert_allclose(found[number].numpy(), dense, rtol=1e-8, atol=1e-9)


def sparse_stage_maps(trunk: nn.Module, image: np.ndarray, visible: np.ndarray) -> list[Sparse]:
    """A sparse convolutional network position by position: only active ones exist."""
    p = {name: value.detach().numpy() for name, value in trunk.state_dict().items()}
    side = 64 // len(visible)
    found, features = [], {}
    for y in range(16):
        for x in range(16):
            if visible[4 * y // side, 4 * x // side]:
                window = image[:, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
                value = np.tensordot(p["downsample_layers.0.0.weight"], window, 3)
                value += p["downsample_layers.0.0.bias"]
                features[y, x] = norm(value, p, "downsample_layers.0.1")
    for stage, depth in enumerate(ARCH["depths"]):
        if stage:
            features = downsampled(features, p, f"downsample_layers.{stage}")
        for block in range(depth):
            features = sparse_block(features, p, f"stages.{stage}.{block}")
        found.append(features)
    return found


def downsampled(features: Sparse, p: dict, name: str) -> Sparse:
    """2 x 2 windows with stride 2: active where one of the four is."""
    weight, result = p[f"{name}.1.weight"], {}
    for (y, x), value in features.items():
        place = y // 2, x // 2
        result.setdefault(place, p[f"{name}.1.bias"].copy())
        result[place] = result[place] + weight[:, :, y % 2, x % 2] @ norm(value, p, f"{name}.0")
    return result


def sparse_block(features: Sparse, p: dict, name: str) -> Sparse:
    """A block whose convolution reads the active neighbours."""
    kernel, hidden = p[f"{name}.dwconv.weight"][:, 0], {}
    for y, x in features:
        value = p[f"{name}.dwconv.bias"].copy()
        for (v, u), other in features.items():
            if abs(v - y) <= 3 and abs(u - x) <= 3:
                value += kernel[:, v - y + 3, u - x + 3] * other
        value = norm(value, p, f"{name}.norm")
        value = p[f"{name}.pwconv1.weight"] @ value + p[f"{name}.pwconv1.bias"]
        hidden[y, x] = 0.5 * value * (1 + np.vectorize(math.erf)(value / math.sqrt(2)))
    if f"{name}.grn.gamma" in p:
        response = np.sqrt(sum(value**2 for value in hidden.values()))
        response /= response.mean() + 1e-6
        scale, shift = p[f"{name}.grn.gamma"].ravel(), p[f"{name}.grn.beta"].ravel()
        hidden = {at: v + scale * v * response + shift for at, v in hidden.items()}
    gamma = p.get(f"{name}.gamma", 1.0)
    project = p[f"{name}.pwconv2.weight"], p[f"{name}.pwconv2.bias"]
    return {at: features[at] + gamma * (project[0] @ v + project[1]) for at, v in hidden.items()}


def norm(value: np.ndarray, p: dict, name: str) -> np.ndarray:
    """LayerNorm of one position."""
    value = (value - value.mean()) / np.sqrt(value.var() + 1e-6)
    return value * p[f"{name}.weight"] + p[f"{name}.bias"]


@BLOCKS
def test_recomputed_blocks_are_masked_alike(blocks):
    images, visible = scene(8)
    gradients = []
    for with_cp in (False, True):
        trunk = new_trunk(blocks, with_cp=with_cp)
        *_, last = masked_stage_maps(trunk, images, visible)
        last.square().sum().backward()
        gradients.append([parameter.grad for parameter in trunk.parameters()])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)


@BLOCKS
def test_the_fast_path_gives_the_plain_ones_maps_and_gradients(blocks, monkeypatch):
    calls = []
    fast = cpu_path.depthwise
    monkeypatch.setattr(cpu_path, "depthwise", lambda *args: calls.append(1) or fast(*args))
    images, visible = scene(8)
    results = []
    for chosen in (True, False):
        trunk = new_trunk(blocks, fast=chosen)
        *_, last = masked_stage_maps(trunk, images, visible)
        last.square().sum().backward()
        results.append([last, *(parameter.grad for parameter in trunk.parameters())])
        assert len(calls) == 5  # the five blocks of the fast network alone
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


def test_equally_many_patches_stay_visible_in_each_image():
    visible = draw_visible(50, (7, 7), 0.6, "cpu")
    assert visible.shape == (50, 1, 7, 7)
    assert set(visible.flatten(1).sum(1).tolist()) == {19}  # int(49 * 0.4), as in the release
    shares = draw_visible(2000, (7, 7), 0.6, "cpu").double().mean(0)
    assert 0.33 < shares.min() < shares.max() < 0.45  # 19 / 49 each, within 5 deviations
    assert draw_visible(3, (2, 1), 0.99, "cpu").sum() == 3  # at least one
    assert draw_visible(3, (2, 1), 0.01, "cpu").sum() == 3  # and not all


def test_masks_follow_the_feature_maps():
    visible = torch.tensor([[[[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]]]).bool()
    assert resize_mask(visible, (8, 8))[0, 0, :2, :2].all()
    assert resize_mask(visible, (8, 8)).sum() == 4 * visible.sum()
    assert resize_mask(visible, (2, 2)).tolist() == [[[[True, False], [False, True]]]]


@pytest.mark.parametrize(
    ("size", "patch"), [(32, 8), (64, 16), (96, 16), (128, 32), (224, 32), (512, 32)]
)
def test_patches_follow_the_size_of_the_images(size, patch):
    assert choose_patch_size(size) == patch
    check_patch_size(patch, size)


@pytest.mark.parametrize(("patch", "size"), [(12, 96), (64, 96), (64, 64), (3, 96), (32, 100)])
def test_patches_that_cut_positions_are_refused(patch, size):
    with pytest.raises(UserError, match="patches of whole positions|--image-size 96"):
        check_patch_size(patch, size)


def test_both_kinds_of_blocks_are_tried():
    assert new_trunk(V2).stages[0][0].grn.gamma.numel() and new_trunk(V1).stages[0][0].gamma.any()
