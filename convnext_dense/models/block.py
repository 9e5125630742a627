"""The ConvNeXt block: the plain path, as in the paper, and the fast paths."""

from collections.abc import Callable

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convnext_dense import kernels
from convnext_dense.kernels.failures import capturing_cuda_graph
from convnext_dense.models.fast import cpu_path
from convnext_dense.models.fast.conditions import (
    allows_custom_operators,
    drops_whole_samples,
    has_standard_layers,
    input_fits_layers,
)
from convnext_dense.models.layers import GRN

FAST_DEVICES = ("cpu", "cuda")  # others, such as "meta", take the plain path


class Block(nn.Module):
    """One ConvNeXt block: depthwise 7x7, LayerNorm, MLP of width 4C, layer scale, residual.

    The MLP runs on a permuted view; with channels-last memory the permutation copies nothing.

    Args:
        dim: Number of channels C.
        drop_path: Probability that a sample skips the block in training (stochastic depth).
        layer_scale_init_value: Initial value of gamma; 0 builds a block without gamma.
        use_grn: Insert ConvNeXt V2's global response normalisation after the activation.
        fast: Take a fast path where it gives the same results (see :meth:`forward`).
        recompute_gelu: Recompute the GELU in the backward pass, so that the MLP's hidden
            activations are saved once instead of twice.
        half_stream: Under autocast, add the branch to the residual in autocast's 16-bit type
            instead of in the parameters' type.
    """

    def __init__(
        self,
        dim: int,
        *,
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

        The fast paths do not compute the branches that stochastic depth would multiply by 0. On an
        NVIDIA GPU they use :mod:`convnext_dense.kernels` where those are enabled, on a CPU
        :mod:`convnext_dense.models.fast.cpu_path` except under autocast and torch.compile. The
        plain path is taken where hooks, changed layers or tracing need to see each layer's call
        (see :mod:`convnext_dense.models.fast.conditions`).
        """
        fast = self.fast and allows_custom_operators(x)
        x = self._cast_to_stream(x)
        add_branch = self._choose_fast_path(x) if fast else self._add_branch_plain
        if isinstance(self.drop_path, nn.Identity) or not self.training:
            return add_branch(x, 1.0)
        if not fast or not drops_whole_samples(self.drop_path):
            return (x + self.drop_path(self._branch(x))).to(x.dtype)
        if torch.compiler.is_compiling() or (x.is_cuda and capturing_cuda_graph()):
            return _add_masked_branches(x, add_branch, 1 - self.drop_path.drop_prob)
        return _add_kept_branches(x, add_branch, 1 - self.drop_path.drop_prob)

    def _cast_to_stream(self, x: Tensor) -> Tensor:
        """Casts the input to the type in which branches are added to the residual stream.

        Under autocast the downsampling layers before the blocks return 16-bit feature maps.
        """
        device = x.device.type if isinstance(x, Tensor) else None
        if device not in FAST_DEVICES or not torch.is_autocast_enabled(device):
            return x
        if self.half_stream:
            return x.to(torch.get_autocast_dtype(device))
        return x.to(self.norm.weight.dtype)

    def _choose_fast_path(self, x: Tensor) -> Callable[[Tensor, float], Tensor]:
        """The method that adds the branch fastest; the plain one where no fast path applies."""
        device = x.device
        if device.type not in FAST_DEVICES or not has_standard_layers(self):
            return self._add_branch_plain
        autocast = torch.is_autocast_enabled(device.type)
        if not input_fits_layers(self, x, autocast):
            return self._add_branch_plain  # where torch's error explains the mismatch
        dtype = torch.get_autocast_dtype(device.type) if autocast else x.dtype
        if self.dwconv.kernel_size == (7, 7) and kernels.usable(device.type, device.index, dtype):
            return self._add_branch_by_kernels
        if device.type != "cpu" or dtype not in cpu_path.DTYPES:
            return self._add_branch_plain
        if autocast or torch.compiler.is_compiling():
            return self._add_branch_plain
        if torch.is_grad_enabled():
            return self._add_branch_on_cpu
        return self._add_branch_on_cpu_in_place

    def _branch(self, x: Tensor) -> Tensor:
        y = self.dwconv(x).permute(0, 2, 3, 1)
        y = self.pwconv1(self.norm(y))
        if self.recompute_gelu and torch.is_grad_enabled():
            y = checkpoint(self._activate_and_project, y, use_reentrant=False)
        else:
            y = self._activate_and_project(y)
        if self.gamma is not None:
            y = self.gamma * y
        return y.permute(0, 3, 1, 2)

    def _activate_and_project(self, y: Tensor) -> Tensor:
        return self.pwconv2(self.grn(self.act(y)))

    def _add_branch_plain(self, x: Tensor, scale: float) -> Tensor:
        y = self._branch(x)
        y = x + (y if scale == 1 else y * scale)
        return y.to(x.dtype)

    def _add_branch_on_cpu(self, x: Tensor, scale: float) -> Tensor:
        y = cpu_path.depthwise(x, self.dwconv).permute(0, 2, 3, 1)
        layers = self.norm, self.pwconv1, self.pwconv2
        y = cpu_path.add_norm_mlp(x.permute(0, 2, 3, 1), y, *layers, self._scaled_gamma(x, scale))
        return y.permute(0, 3, 1, 2)

    def _add_branch_on_cpu_in_place(self, x: Tensor, scale: float) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = cpu_path.mlp_in_place(y, self.pwconv1, self.pwconv2).permute(0, 3, 1, 2)
        gamma = self._scaled_gamma(x, scale)
        return y.add_(x) if gamma is None else torch.addcmul(x, y, gamma[:, None, None], out=y)

    def _add_branch_by_kernels(self, x: Tensor, scale: float) -> Tensor:
        conv = self.dwconv.weight, self.dwconv.bias
        norm = self.norm.weight, self.norm.bias, self.norm.eps
        expand, project = ((layer.weight, layer.bias) for layer in (self.pwconv1, self.pwconv2))
        return kernels.block(x, *conv, *norm, *expand, *project, self._scaled_gamma(x, scale))

    def _scaled_gamma(self, x: Tensor, scale: float) -> Tensor | None:
        if scale == 1:
            return self.gamma
        return (
            self.norm.weight.new_full((x.shape[1],), scale)
            if self.gamma is None
            else self.gamma * scale
        )


def _add_kept_branches(
    x: Tensor, add_branch: Callable[[Tensor, float], Tensor], keep_prob: float
) -> Tensor:
    """Stochastic depth that computes the branch only for the samples that keep it.

    The random numbers are drawn as timm draws them: on a CPU the same samples are kept as on the
    plain path. For a GPU they are drawn on the CPU too, since waiting for the device costs more
    than a small branch.
    """
    kept = torch.empty(len(x), 1, 1, 1, dtype=x.dtype).bernoulli_(keep_prob)
    kept = kept.flatten().nonzero()[:, 0]
    scale = 1 / keep_prob if keep_prob else 0.0
    if len(kept) == len(x):
        return add_branch(x, scale)
    # With no sample at all the branch runs too: its parameters must have gradients (of zeros).
    indices = kept.to(x.device, non_blocking=True)
    samples = x.index_select(0, indices).contiguous(memory_format=torch.channels_last)
    # index_copy would give the result another memory format.
    return x.clone().index_copy_(0, indices, add_branch(samples, scale).to(x.dtype))


def _add_masked_branches(
    x: Tensor, add_branch: Callable[[Tensor, float], Tensor], keep_prob: float
) -> Tensor:
    """Stochastic depth for compiled and captured graphs, where sizes must not be random.

    All branches are computed, and a mask drawn on the device selects those that are added.
    """
    kept = x.new_empty((len(x), 1, 1, 1)).bernoulli_(keep_prob).bool()
    return torch.where(kept, add_branch(x, 1 / keep_prob if keep_prob else 0.0), x)
