"""Boxes must survive bfloat16 features."""

import pytest
import torch

import convnext_dense  # noqa: F401  (mmcv's operators, before mmdet asks for them)

SETTINGS = dict(
    roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
    out_channels=2,
    featmap_strides=[4, 8],
)


def ramp(stride: int) -> torch.Tensor:
    """A map whose value is the x coordinate over 1333: what RoIAlign should read is known."""
    width = 1344 // stride
    row = (torch.arange(width) + 0.5) * stride / 1333
    return row.expand(1, 2, 128, width).contiguous()


def test_bfloat16_features_do_not_move_boxes():
    mmdet = pytest.importorskip("mmdet.models.roi_heads")
    from convnext_dense.detection.roi_extractor import Float32RoIExtractor

    ours = Float32RoIExtractor(**SETTINGS)
    plain = mmdet.SingleRoIExtractor(**SETTINGS)
    left = 1000 + torch.arange(20.0) * 1.37
    rois = torch.stack([torch.zeros(20), left, left * 0 + 100, left + 28, left * 0 + 128], dim=1)
    feats = [ramp(4).bfloat16().requires_grad_(), ramp(8).bfloat16()]
    expected = plain([ramp(4), ramp(8)], rois)

    def error(extractor) -> float:
        out = extractor(feats, rois).float()
        return ((out - expected).mean(dim=(1, 2, 3)).abs().mean() * 1333).item()  # in pixels

    assert error(ours) < 0.5 < 0.8 < error(plain)
    ours(feats, rois).sum().backward()
    assert feats[0].grad.dtype == torch.bfloat16 and feats[0].grad.abs().sum() > 0


def test_float32_features_give_mmdets_result():
    mmdet = pytest.importorskip("mmdet.models.roi_heads")
    from convnext_dense.detection.roi_extractor import Float32RoIExtractor

    torch.manual_seed(0)
    feats = [torch.randn(1, 2, 64, 64), torch.randn(1, 2, 32, 32)]
    rois = torch.tensor([[0.0, 3.0, 4.0, 50.0, 60.0], [0.0, 10.0, 20.0, 250.0, 200.0]])
    assert torch.equal(
        Float32RoIExtractor(**SETTINGS)(feats, rois),
        mmdet.SingleRoIExtractor(**SETTINGS)(feats, rois),
    )


def maps(dtype=torch.float32, requires_grad=True) -> list[torch.Tensor]:
    torch.manual_seed(0)
    plain = [torch.randn(2, 2, size, size, dtype=dtype) for size in (64, 32)]
    last = [one.contiguous(memory_format=torch.channels_last) for one in plain]
    # Times one: a network's maps are no leaves.
    return [one.requires_grad_(requires_grad) * 1 for one in last]


def boxes() -> torch.Tensor:
    torch.manual_seed(1)
    corner, size = torch.rand(30, 2) * 100, torch.rand(30, 2) * 150 + 2
    return torch.cat([torch.arange(30)[:, None] % 2, corner, corner + size], dim=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_are_converted_once_for_all_extractors(dtype):
    mmdet = pytest.importorskip("mmdet.models.roi_heads")
    from convnext_dense.detection import roi_extractor

    ours = [roi_extractor.Float32RoIExtractor(**SETTINGS) for _ in range(3)]
    plain = mmdet.SingleRoIExtractor(**SETTINGS)
    feats, seen = maps(dtype), []
    for feat in feats:
        feat.retain_grad()
    for one in ours:
        one.roi_layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    found = [one(tuple(feats), boxes()) for one in ours]
    assert len(seen) == 3 and len({id(one) for one in seen}) == 1
    assert seen[0].is_contiguous() and seen[0].dtype == torch.float32

    wide = [one.detach().float().contiguous().requires_grad_() for one in feats]
    expected = [plain(tuple(wide), boxes()) for _ in ours]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    for outputs in (found, expected):
        sum((number + 1) * one.square().sum() for number, one in enumerate(outputs)).backward()
    for feat, other in zip(feats, wide, strict=True):
        assert torch.equal(feat.grad, other.grad.to(dtype)) and other.grad.abs().sum() > 0


def test_conversions_do_not_cut_gradients_nor_outlive_their_maps():
    pytest.importorskip("mmdet.models.roi_heads")
    from convnext_dense.detection import roi_extractor

    extractor = roi_extractor.Float32RoIExtractor(**SETTINGS)
    feats = maps()
    with torch.no_grad():
        assert not extractor(feats, boxes()).requires_grad
    assert extractor(feats, boxes()).requires_grad
    leaves = [one.detach().requires_grad_() for one in feats]
    extractor(leaves, boxes()).sum().backward()
    assert leaves[0].grad.abs().sum() > 0
    with torch.inference_mode():
        extractor(feats, boxes())
    heads = torch.nn.Conv2d(2, 1, 1)  # its backward reads what the extractor gave
    frozen = maps(requires_grad=False)
    with torch.inference_mode():
        extractor(frozen, boxes())
    heads(extractor(frozen, boxes())).sum().backward()
    assert len(roi_extractor._READABLE) == 4
    del feats, frozen
    assert len(roi_extractor._READABLE) == 0
