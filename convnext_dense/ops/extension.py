"""The module that mmcv imports as `mmcv._ext`, with every name that its wrappers load.

Python executes this file under the name `mmcv._ext`, so its imports are absolute. The operators
have the arguments of mmcv's compiled functions: the wrappers allocate outputs and gradients, and
the functions fill them. Half precision is computed in float32 and rounded once, at the end.

Everything that models of mmdet 3.3 and mmsegmentation 1.2 call is here, and the basic operators of
rotated boxes. Left out are `active_rotated_filter` (ReDet and S2A-Net of mmrotate), and what other
tasks need: point clouds, text detection, image synthesis.
"""

import functools
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import torchvision

from convnext_dense.ops.attention import ms_deform_attn_backward, ms_deform_attn_forward
from convnext_dense.ops.boxes.overlaps import bbox_overlaps
from convnext_dense.ops.boxes.rotated_iou import box_iou_rotated
from convnext_dense.ops.boxes.rotated_nms import nms_rotated
from convnext_dense.ops.carafe import (
    carafe_backward,
    carafe_forward,
    carafe_naive_backward,
    carafe_naive_forward,
)
from convnext_dense.ops.deform import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from convnext_dense.ops.focal import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from convnext_dense.ops.masked_conv import masked_col2im_forward, masked_im2col_forward
from convnext_dense.ops.nms import nms, nms_match, softnms
from convnext_dense.ops.psa_mask import psamask_backward, psamask_forward
from convnext_dense.ops.regions.deform_roi_pool import (
    deform_roi_pool_backward,
    deform_roi_pool_forward,
)
from convnext_dense.ops.regions.roi_align_rotated import (
    roi_align_rotated_backward,
    roi_align_rotated_forward,
)
from convnext_dense.ops.roi_align import roi_align_backward, roi_align_forward
from convnext_dense.ops.roi_pool import roi_pool_backward, roi_pool_forward

__all__ = [
    "bbox_overlaps",
    "box_iou_rotated",
    "carafe_backward",
    "carafe_forward",
    "carafe_naive_backward",
    "carafe_naive_forward",
    "deform_conv_backward_input",
    "deform_conv_backward_parameters",
    "deform_conv_forward",
    "deform_roi_pool_backward",
    "deform_roi_pool_forward",
    "get_compiler_version",
    "get_compiling_cuda_version",
    "masked_col2im_forward",
    "masked_im2col_forward",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
    "ms_deform_attn_backward",
    "ms_deform_attn_forward",
    "nms",
    "nms_match",
    "nms_rotated",
    "psamask_backward",
    "psamask_forward",
    "roi_align_backward",
    "roi_align_forward",
    "roi_align_rotated_backward",
    "roi_align_rotated_forward",
    "roi_pool_backward",
    "roi_pool_forward",
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
    "softmax_focal_loss_backward",
    "softmax_focal_loss_forward",
    "softnms",
]


def get_compiler_version() -> str:
    """For environment reports: no compiler made these operators."""
    return f"not compiled (operators of torchvision {torchvision.__version__})"


def get_compiling_cuda_version() -> str:
    """For environment reports: no CUDA compiler made these operators."""
    return "not compiled"


@functools.cache
def requested_names() -> frozenset[str]:
    """Every operator that the wrappers in `mmcv/ops` load from `mmcv._ext`, read from their source.

    Reading the source makes this right for any version of mmcv; other names stay unknown.
    """
    mmcv = importlib.util.find_spec("mmcv")
    if mmcv is None:
        return frozenset()
    (package,) = mmcv.submodule_search_locations
    requests = re.compile(r"load_ext\(\s*['\"]_ext['\"],\s*\[(.*?)\]", re.DOTALL)
    return frozenset(
        name
        for wrapper in Path(package, "ops").glob("*.py")
        for names in requests.findall(wrapper.read_text(encoding="utf-8"))
        for name in re.findall(r"\w+", names)
    )


def __getattr__(name: str) -> Callable:
    """Let mmcv import wrappers of operators that need a compiled mmcv; a call raises an error."""
    if name not in requested_names():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def missing(*args, **kwargs):
        raise NotImplementedError(
            f"mmcv's operator {name!r} has no equivalent in torchvision and needs a compiled mmcv: "
            "pip uninstall mmcv-lite && pip install mmcv==2.1.0 "
            "(it needs a C++ compiler; see README, 'Compiled mmcv')."
        )

    missing.__name__ = name
    return missing
