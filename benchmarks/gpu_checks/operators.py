"""mmcv's operators and the encoding of masks, compared with the CPU and with pycocotools."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from convnext_dense.ops import install

from .check import Check, compare, tf32

install()  # before mmcv's operators are imported, in the functions below
COUNT = 400  # boxes
SIZE = (120, 160)  # of the image, in pixels


def boxes_and_scores() -> tuple[Tensor, Tensor, Tensor]:
    """Overlapping boxes (N, 4) of an image, scores that all differ, labels of three classes."""
    draw = torch.Generator().manual_seed(0)
    height, width = SIZE
    centre = torch.rand(COUNT, 2, generator=draw) * torch.tensor([width, height])
    half = 3 + 20 * torch.rand(COUNT, 2, generator=draw)
    scores = torch.randperm(COUNT, generator=draw) / COUNT
    labels = torch.randint(0, 3, (COUNT,), generator=draw)
    return torch.cat([centre - half, centre + half], 1), scores, labels


def check_nms(kind: str, device: str) -> None:
    """Non-maximum suppression of all boxes, or class by class: the CPU's boxes in its order."""
    from mmcv.ops import batched_nms, nms, soft_nms

    calls = {
        "nms": lambda boxes, scores, _: nms(boxes, scores, 0.5),
        "batched-nms": lambda *all_three: batched_nms(
            *all_three, dict(type="nms", iou_threshold=0.5)
        ),
        "soft-nms": lambda boxes, scores, _: soft_nms(boxes, scores, 0.5),
    }
    inputs = boxes_and_scores()
    _, expected = calls[kind](*inputs)
    dets, kept = calls[kind](*(value.to(device) for value in inputs))
    assert 20 < len(expected) <= COUNT, f"{len(expected)} of {COUNT} boxes are left."
    assert kept.tolist() == expected.tolist(), "Other boxes are kept than on the CPU."
    if kind != "soft-nms":  # which lowers scores
        compare({"boxes": dets[:, :4]}, {"boxes": inputs[0][expected]}, 1e-6)


def check_roi_align(dtype: torch.dtype, device: str) -> None:
    """RoIAlign and its gradient, compared with the CPU in float64."""
    from mmcv.ops import roi_align

    draw = torch.Generator().manual_seed(0)
    features = torch.randn(2, 8, SIZE[0] // 4, SIZE[1] // 4, generator=draw).to(dtype)
    boxes, *_ = boxes_and_scores()
    image = torch.arange(COUNT)[:, None] % 2
    rois = torch.cat([image, boxes.round()], 1)
    results = []
    for target, kind in ((device, dtype), ("cpu", torch.float64)):
        leaf = features.to(target, kind).requires_grad_()
        with tf32(allowed=False):
            pooled = roi_align(leaf, rois.to(target, kind), (7, 7), 0.25, 0, "avg", True)
        grad = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1)).to(pooled)
        results.append({"output": pooled, "gradient": torch.autograd.grad(pooled, leaf, grad)[0]})
    compare(*results, 1e-5 if dtype == torch.float32 else 1e-2)


def check_masks(device: str) -> None:
    """Run lengths of binary masks, compared with pycocotools."""
    from pycocotools import mask as mask_api

    from convnext_dense.detection.rle import encode_masks

    draw = torch.Generator().manual_seed(0)
    masks = torch.rand(6, *SIZE, generator=draw) > 0.5
    masks[0], masks[1], masks[2, :, 20:] = False, True, False
    columns_first = np.asfortranarray(masks.numpy().transpose(1, 2, 0).astype(np.uint8))
    expected = [rle["counts"].decode() for rle in mask_api.encode(columns_first)]
    actual = [rle["counts"] for rle in encode_masks(masks.to(device))]
    assert actual == expected, "The run lengths are not pycocotools'."


CHECKS = (
    *(
        Check(f"ops/{kind}", partial(check_nms, kind), cheap=kind == "batched-nms")
        for kind in ("nms", "batched-nms", "soft-nms")
    ),
    *(
        Check(f"ops/roi-align-{str(dtype).rpartition('.')[2]}", partial(check_roi_align, dtype))
        for dtype in (torch.float32, torch.float16, torch.bfloat16)
    ),
    Check("ops/mask-rle", check_masks, cheap=True),
)
