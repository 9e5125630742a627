"""Layers that timm does not have under the official release's parameter names."""

import torch
from torch import Tensor, nn

from convnext_dense.kernels.backward import in_functorch_transform


def channels_last(x: Tensor) -> Tensor:
    """Images (N, C, H, W) in channels-last memory.

    Inside torch.func's transforms they are returned unchanged: vmap knows no memory formats.
    """
    return x if in_functorch_transform() else x.contiguous(memory_format=torch.channels_last)


class GRN(nn.Module):
    """Global response normalisation over a channels-last feature map (ConvNeXt V2, section 3).

    Each channel is scaled by its L2 norm over the feature map, divided by the mean of all channels'
    norms, so that channels compete. At initialisation, with both parameters zero, the layer is the
    identity.

    Args:
        dim: Number of channels C.
        eps: Added to the mean of the norms.
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, dim))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (N, H, W, C) to (N, H, W, C)."""
        norm = x.norm(p=2, dim=(1, 2), keepdim=True)
        response = norm / (norm.mean(dim=-1, keepdim=True) + self.eps)
        return x + self.gamma * (x * response) + self.beta
