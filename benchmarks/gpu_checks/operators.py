"""mmcv's operators and the masks' encoding on the device: beside the CPU and pycocotools."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from convnext_dense.ops import install

from .check import Check, compare, tf32

install()  # before mmcv's operators are imported, which happens where they are called
COUNT = 400  # boxes
SIZE = (120, 160)  # of the picture, in pixels


def boxes_and_scores() -> tuple[Tensor, Tensor, Tensor]:
    """Overlapping boxes (N, 4) of a picture, scores that all differ, labels of three classes."""
    draw = torch.Generator().manual_seed(0)
    height, width = SIZE
    centre = torch.rand(COUNT, 2, generator=draw) * torch.tensor([width, height])
    half = 3 + 20 * torch.rand(COUNT, 2, generator=draw)
    scores = torch.randperm(COUNT, generator=draw) / COUNT
    labels = torch.randint(0, 3, (COUNT,), generator=draw)
    return torch.cat([centre - half, centre + half], 1), scores, labels


def check_nms(how: str, device: str) -> None:
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
    _, wanted = calls[how](*inputs)
    dets, found = calls[how](*(one.to(device) for one in inputs))
    assert 20 < len(wanted) <= COUNT, f"{len(wanted)} boxes are left of {COUNT}."
    assert found.tolist() == wanted.tolist(), "Other boxes are kept than on the CPU."
    if how != "soft-nms":  # which lowers scores
        compare({"boxes": dets[:, :4]}, {"boxes": inputs[0][wanted]}, 1e-6)


def check_roi_align(dtype: torch.dtype, device: str) -> None:
    """RoIAlign and its gradient, beside the CPU's in float64."""
    from mmcv.ops import roi_align

    draw = torch.Generator().manual_seed(0)
    features = torch.randn(2, 8, SIZE[0] // 4, SIZE[1] // 4, generator=draw).to(dtype)
    boxes, *_ = boxes_and_scores()
    image = torch.arange(COUNT)[:, None] % 2
    rois = torch.cat([image, boxes.round()], 1)
    results = []
    for place, kind in ((device, dtype), ("cpu", torch.float64)):
        leaf = features.to(place, kind).requires_grad_()
        with tf32(False):
            pooled = roi_align(leaf, rois.to(place, kind), (7, 7), 0.25, 0, "avg", True)
        grad = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1)).to(pooled)
        results.append({"output": pooled, "gradient": torch.autograd.grad(pooled, leaf, grad)[0]})
    compare(*results, 1e-5 if dtype == torch.float32 else 1e-2)


def check_masks(device: str) -> None:
    """Run lengths of binary masks: pycocotools' own."""
    from pycocotools import mask as mask_api

    from convnext_dense.detection.rle import encode_masks

    draw = torch.Generator().manual_seed(0)
    masks = torch.rand(6, *SIZE, generator=draw) > 0.5
    masks[0], masks[1], masks[2, :, 20:] = False, True, False
    as_pycocotools_reads = np.asfortranarray(masks.numpy().transpose(1, 2, 0).astype(np.uint8))
    wanted = [one["counts"].decode() for one in mask_api.encode(as_pycocotools_reads)]
    found = [one["counts"] for one in encode_masks(masks.to(device))]
    assert found == wanted, "The run lengths are not pycocotools'."


CHECKS = (
    *(
        Check(f"ops/{how}", partial(check_nms, how), how == "batched-nms")
        for how in ("nms", "batched-nms", "soft-nms")
    ),
    *(
        Check(f"ops/roi-align-{str(dtype).rpartition('.')[2]}", partial(check_roi_align, dtype))
        for dtype in (torch.float32, torch.float16, torch.bfloat16)
    ),
    Check("ops/mask-rle", check_masks, cheap=True),
)
