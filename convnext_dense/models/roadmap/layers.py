"""The layers of the networks between ResNet and ConvNeXt, as a design switches them."""

from collections.abc import Sequence

import torch
from timm.layers import DropPath, LayerNorm2d
from torch import nn

from convnext_dense.models.roadmap.steps import Design


class Pointwise(nn.Linear):
    """A 1x1 convolution with a linear layer's parameters, as in ConvNeXt's block."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (N, C, H, W) to (N, D, H, W); permuting channels-last memory copies nothing."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class RoadmapBlock(nn.Module):
    """A residual block of any step.

    ``dwconv`` is the spatial convolution (dense before the step ``depthwise_conv``) and ``norm``
    its norm; ``norm1`` and ``norm2`` follow ``pwconv1`` and ``pwconv2``.

    Args:
        design: The network's switches.
        in_dim: Channels of the input.
        width: Channels of the narrow side; the wide side has four times as many.
        stride: Of the spatial convolution and of the shortcut.
        drop_path: Probability that a sample skips the branch in training (stochastic depth).
    """

    def __init__(
        self, design: Design, in_dim: int, width: int, stride: int = 1, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.moved_up = design.move_up_depthwise_conv
        hidden, out = (4 * width, width) if design.inverted_bottleneck else (width, 4 * width)
        spatial = in_dim if self.moved_up else hidden
        several = not design.fewer_norms
        self.dwconv = nn.Conv2d(
            spatial,
            spatial,
            design.kernel_size,
            stride,
            padding=design.kernel_size // 2,
            groups=spatial if design.depthwise_conv else 1,
            bias=has_bias(design),
        )
        self.norm = new_norm(design, spatial)
        self.pwconv1 = Pointwise(in_dim, hidden, bias=has_bias(design, several))
        self.norm1 = new_norm(design, hidden) if several else nn.Identity()
        self.pwconv2 = Pointwise(hidden, out, bias=has_bias(design, several))
        self.norm2 = new_norm(design, out) if several else nn.Identity()
        self.act1 = nn.Identity() if design.fewer_activations else new_activation(design)
        self.act2 = new_activation(design)
        self.act3 = nn.Identity() if design.fewer_activations else new_activation(design)
        self.gamma = (
            nn.Parameter(torch.full((out,), float(design.layer_scale)))
            if design.layer_scale > 0
            else None
        )
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.shortcut = nn.Identity()
        if stride > 1 or in_dim != out:
            conv = nn.Conv2d(in_dim, out, kernel_size=1, stride=stride, bias=has_bias(design))
            self.shortcut = nn.Sequential(conv, new_norm(design, out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (N, in_dim, H, W) to (N, out, H', W'), H' = ceil(H / stride)."""
        if self.moved_up:
            y = self.act1(self.norm(self.dwconv(x)))
            y = self.act2(self.norm1(self.pwconv1(y)))
        else:
            y = self.act1(self.norm1(self.pwconv1(x)))
            y = self.act2(self.norm(self.dwconv(y)))
        y = self.norm2(self.pwconv2(y))
        if self.gamma is not None:
            y = self.gamma[:, None, None] * y
        return self.act3(self.shortcut(x) + self.drop_path(y))


def new_norm(design: Design, dim: int) -> nn.Module:
    return LayerNorm2d(dim, eps=1e-6) if design.layer_norm else nn.BatchNorm2d(dim)


def new_activation(design: Design) -> nn.Module:
    return nn.GELU() if design.gelu else nn.ReLU(inplace=True)


def has_bias(design: Design, norm_follows: bool = True) -> bool:
    """BatchNorm right after a convolution would take a bias out again."""
    return design.layer_norm or not norm_follows


def new_downsampling(design: Design, stage: int, in_channels: int) -> nn.Module:
    """The stem before stage 0; elsewhere a layer of its own, or nothing."""
    if stage > 0:
        if not design.separate_downsampling:
            return nn.Identity()
        dims = design.dims[stage - 1 : stage + 1]
        return nn.Sequential(new_norm(design, dims[0]), nn.Conv2d(*dims, kernel_size=2, stride=2))
    dim = design.width
    if not design.patchify_stem:
        conv = nn.Conv2d(in_channels, dim, 7, stride=2, padding=3, bias=has_bias(design))
        pool = nn.MaxPool2d(3, stride=2, padding=1)
        return nn.Sequential(conv, new_norm(design, dim), new_activation(design), pool)
    normed = design.separate_downsampling
    conv = nn.Conv2d(in_channels, dim, 4, stride=4, bias=has_bias(design, normed))
    return nn.Sequential(conv, new_norm(design, dim)) if normed else nn.Sequential(conv)


def new_stage(design: Design, stage: int, rates: Sequence[float]) -> nn.Sequential:
    """The blocks of a stage; without downsampling layers the first has the stride."""
    out = design.dims[stage]
    separate = design.separate_downsampling
    first = design.width if stage == 0 else out if separate else design.dims[stage - 1]
    stride = 1 if stage == 0 or separate else 2
    inputs = [(first, stride)] + [(out, 1)] * (len(rates) - 1)
    return nn.Sequential(
        *(
            RoadmapBlock(design, in_dim, design.widths[stage], stride, rate)
            for (in_dim, stride), rate in zip(inputs, rates, strict=True)
        )
    )
