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


def write_plainly(one: torch.Tensor, value: torch.Tensor) -> None:
    one.copy_(value)


def write_unseen(one: torch.Tensor, value: torch.Tensor) -> None:
    one.data.copy_(value)  # like the replay of a CUDA graph: the tensor's version stays


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("write", [write_plainly, write_unseen])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_written_in_place_are_read_anew(dtype, write, mode):
    mmdet = pytest.importorskip("mmdet.models.roi_heads")
    from convnext_dense.detection.roi_extractor import Float32RoIExtractor

    ours, plain = Float32RoIExtractor(**SETTINGS), mmdet.SingleRoIExtractor(**SETTINGS)
    with mode():
        buffers = maps(dtype, requires_grad=False)
        first = ours(buffers, boxes())
        for number, one in enumerate(buffers):
            write(one, torch.randn(one.shape, generator=torch.Generator().manual_seed(number)))
        found = ours(buffers, boxes())
        expected = plain([one.float().contiguous() for one in buffers], boxes())
    assert torch.equal(found, expected) and not torch.equal(found, first)


def test_conversions_do_not_cut_gradients():
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


def test_maps_stay_where_an_extractor_of_another_class_reads_them():
    mmdet = pytest.importorskip("mmdet.models.roi_heads")
    from convnext_dense.detection.roi_extractor import Float32RoIExtractor, convert_features_once

    feats = (*maps(torch.bfloat16), *maps(torch.bfloat16))
    ours, plain = Float32RoIExtractor(**SETTINGS), mmdet.SingleRoIExtractor(**SETTINGS)
    found = convert_features_once(torch.nn.ModuleList([ours]), feats)
    assert [one.dtype for one in found] == [torch.float32] * 2 + [torch.bfloat16] * 2
    assert found[2] is feats[2]  # no extractor reads it
    both = convert_features_once(torch.nn.ModuleList([ours, plain]), feats)
    assert all(one is other for one, other in zip(both, feats, strict=True))
