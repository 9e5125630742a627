"""The ConvNeXt block: as the paper writes it, and as it is computed fast."""

from collections.abc import Callable

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convnext_dense import kernels
from convnext_dense.kernels.failures import capturing
from convnext_dense.models.fast import cpu_path
from convnext_dense.models.fast.conditions import (
    allows_own_operators,
    drops_samples,
    fits_layers,
    layers_as_built,
)
from convnext_dense.models.layers import GRN

DEVICES = ("cpu", "cuda")  # others, such as "meta", take the plain path


class Block(nn.Module):
    """One ConvNeXt block: depthwise 7x7, LayerNorm, MLP of width 4C, layer scale, residual.

    The MLP runs on the permuted view: with channels-last memory the permutation copies nothing.

    Args:
        dim: Number of channels C.
        drop_path: Probability that a sample skips the block in training (stochastic depth).
        layer_scale_init_value: Initial value of gamma; there is no gamma where it is 0.
        use_grn: Insert ConvNeXt V2's global response normalisation after the activation.
        fast: Take the fast path where it computes the same (see :meth:`forward`).
        recompute_gelu: Keep the MLP's expanded map once instead of on both sides of the GELU.
        half_stream: Under autocast add up branches in its 16-bit type instead of in gamma's.
    """

    def __init__(
        self,
        dim: int,
        drop_path: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        use_grn: bool = False,
        fast: bool = True,
        recompute_gelu: bool = False,
        half_stream: bool = False,
    ) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.grn = GRN(4 * dim) if use_grn else nn.Identity()
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = (
            nn.Parameter(torch.full((dim,), float(layer_scale_init_value)))
            if layer_scale_init_value > 0
            else None
        )
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.fast = fast
        self.recompute_gelu = recompute_gelu
        self.half_stream = half_stream

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape and memory format.

        The fast path leaves out what stochastic depth would multiply by 0. On an NVIDIA GPU it is
        computed by :mod:`convnext_dense.kernels` where those are asked for, on a CPU by
        :mod:`convnext_dense.models.fast.cpu_path` unless autocast or torch.compile is on. Neither
        is taken where somebody looks at what is computed
        (see :mod:`convnext_dense.models.fast.conditions`).
        """
        fast = self.fast and allows_own_operators(x)
        x = self._in_stream(x)
        add_branch = self._fastest(x) if fast else self._add_plain
        if isinstance(self.drop_path, nn.Identity) or not self.training:
            return add_branch(x, 1.0)
        if not fast or not drops_samples(self.drop_path):
            return (x + self.drop_path(self._branch(x))).to(x.dtype)
        if torch.compiler.is_compiling() or (x.is_cuda and capturing()):
            return _chosen(x, add_branch, 1 - self.drop_path.drop_prob)
        return _with_some(x, add_branch, 1 - self.drop_path.drop_prob)

    def _in_stream(self, x: Tensor) -> Tensor:
        """The map in the type in which branches are added; a downsampling layer's is 16-bit."""
        kind = x.device.type if isinstance(x, Tensor) else None
        if kind not in DEVICES or not torch.is_autocast_enabled(kind):
            return x
        return x.to(torch.get_autocast_dtype(kind) if self.half_stream else self.norm.weight.dtype)

    def _fastest(self, x: Tensor) -> Callable[[Tensor, float], Tensor]:
        device = x.device
        if device.type not in DEVICES or not layers_as_built(self):
            return self._add_plain
        autocast = torch.is_autocast_enabled(device.type)
        if not fits_layers(self, x, autocast):
            return self._add_plain  # whose exception says what is wrong
        dtype = torch.get_autocast_dtype(device.type) if autocast else x.dtype
        if self.dwconv.kernel_size == (7, 7) and kernels.usable(device.type, device.index, dtype):
            return self._add_fused
        if device.type != "cpu" or dtype not in cpu_path.DTYPES:
            return self._add_plain
        if autocast or torch.compiler.is_compiling():
            return self._add_plain
        return self._add_lean if torch.is_grad_enabled() else self._add_in_place

    def _branch(self, x: Tensor) -> Tensor:
        y = self.dwconv(x).permute(0, 2, 3, 1)
        y = self.pwconv1(self.norm(y))
        if self.recompute_gelu and torch.is_grad_enabled():
            y = checkpoint(self._project, y, use_reentrant=False)
        else:
            y = self._project(y)
        if self.gamma is not None:
            y = self.gamma * y
        return y.permute(0, 3, 1, 2)

    def _project(self, y: Tensor) -> Tensor:
        return self.pwconv2(self.grn(self.act(y)))

    def _add_plain(self, x: Tensor, scale: float) -> Tensor:
        y = self._branch(x)
        y = x + (y if scale == 1 else y * scale)
        return y.to(x.dtype)

    def _add_lean(self, x: Tensor, scale: float) -> Tensor:
        y = cpu_path.depthwise(x, self.dwconv).permute(0, 2, 3, 1)
        layers = self.norm, self.pwconv1, self.pwconv2
        y = cpu_path.add_norm_mlp(x.permute(0, 2, 3, 1), y, *layers, self._gamma(x, scale))
        return y.permute(0, 3, 1, 2)

    def _add_in_place(self, x: Tensor, scale: float) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = cpu_path.mlp_in_place(y, self.pwconv1, self.pwconv2).permute(0, 3, 1, 2)
        gamma = self._gamma(x, scale)
        return y.add_(x) if gamma is None else torch.addcmul(x, y, gamma[:, None, None], out=y)

    def _add_fused(self, x: Tensor, scale: float) -> Tensor:
        conv = self.dwconv.weight, self.dwconv.bias
        norm = self.norm.weight, self.norm.bias, self.norm.eps
        expand, project = ((layer.weight, layer.bias) for layer in (self.pwconv1, self.pwconv2))
        return kernels.block(x, *conv, *norm, *expand, *project, self._gamma(x, scale))

    def _gamma(self, x: Tensor, scale: float) -> Tensor | None:
        if scale == 1:
            return self.gamma
        return (
            self.norm.weight.new_full((x.shape[1],), scale)
            if self.gamma is None
            else self.gamma * scale
        )


def _with_some(x: Tensor, add_branch: Callable[[Tensor, float], Tensor], share: float) -> Tensor:
    """Stochastic depth: a random share of the samples with their branch over that share.

    The draw is timm's: where it is made by the CPU the same samples are kept as on the plain path.
    On a GPU it is the CPU's too, since waiting for the device costs more than a small branch.
    """
    kept = torch.empty(len(x), 1, 1, 1, dtype=x.dtype).bernoulli_(share).flatten().nonzero()[:, 0]
    scale = 1 / share if share else 0.0
    if len(kept) == len(x):
        return add_branch(x, scale)
    # With no sample at all the branch runs too: its parameters must have gradients (of zeros).
    some = kept.to(x.device, non_blocking=True)
    taken = x.index_select(0, some).contiguous(memory_format=torch.channels_last)
    # index_copy would give the result another memory format.
    return x.clone().index_copy_(0, some, add_branch(taken, scale).to(x.dtype))


def _chosen(x: Tensor, add_branch: Callable[[Tensor, float], Tensor], share: float) -> Tensor:
    """As :func:`_with_some` where sizes must not depend on chance: a compiled or captured graph.

    All branches are computed, and the device draws which of them count.
    """
    kept = x.new_empty((len(x), 1, 1, 1)).bernoulli_(share).bool()
    return torch.where(kept, add_branch(x, 1 / share if share else 0.0), x)
