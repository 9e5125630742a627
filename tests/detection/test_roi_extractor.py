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
