"""An RPN that keeps the order of equal scores; RPN and mask head with matrix products on a CPU.

Their 1 x 1 convolutions have few outputs (an anchor's scores, a class's mask). oneDNN's backward
pass of such a convolution costs three to five times the product's in several threads.
"""

import torch
import torch.nn.functional as F
from mmdet.models import FCNMaskHead, RPNHead
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


def convolve_pixels(conv: nn.Conv2d, features: Tensor) -> Tensor:
    """A 1 x 1 convolution of (N, C, H, W), on a CPU as one product of all pixels with its weights.

    The layer itself is called where its class is another, on other devices, and for features that
    are not channels-last, whose pixels would have to be copied.
    """
    pixels = features.permute(0, 2, 3, 1)
    if type(conv) is not nn.Conv2d or not features.is_cpu or not pixels.is_contiguous():
        return conv(features)
    return F.linear(pixels, conv.weight.flatten(1), conv.bias).permute(0, 3, 1, 2)


class TiesByPlace(TorchDispatchMode):
    """Within it ``sort`` leaves equal values in their order.

    torch's own order of equal values depends on device, standard library and length.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Calls an operator of torch."""
        if func is torch.ops.aten.sort.default:
            return _sort_in_order(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _sort_in_order(values: Tensor, dim: int = -1, descending: bool = False) -> tuple:
    return torch.ops.aten.sort.stable(values, stable=True, dim=dim, descending=descending)


@MODELS.register_module()
class StableRPNHead(RPNHead):
    """``RPNHead`` that takes equal scores in the order of their anchors.

    Where ReLU leaves nothing of the features, all anchors have one score, and the proposals would
    depend on the device; a model exported to ONNX would have others than its checkpoint.
    """

    def _predict_by_feat_single(self, *args, **kwargs) -> InstanceData:
        """The proposals of an image."""
        with TiesByPlace():
            return super()._predict_by_feat_single(*args, **kwargs)


@MODELS.register_module()
class RowRPNHead(StableRPNHead):
    """``StableRPNHead`` with :func:`convolve_pixels`."""

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (N, anchors, H, W) and box deltas (N, 4 x anchors, H, W) of a level."""
        x = F.relu(self.rpn_conv(x))
        return convolve_pixels(self.rpn_cls, x), convolve_pixels(self.rpn_reg, x)


@MODELS.register_module()
class RowMaskHead(FCNMaskHead):
    """``FCNMaskHead`` with :func:`convolve_pixels`."""

    def forward(self, x: Tensor) -> Tensor:
        """Mask logits (R, classes, 2 H, 2 W) of region features (R, C, H, W)."""
        for conv in self.convs:
            x = conv(x)
        if self.upsample is not None:
            x = self.upsample(x)
            x = self.relu(x) if self.upsample_method == "deconv" else x
        return convolve_pixels(self.conv_logits, x)
