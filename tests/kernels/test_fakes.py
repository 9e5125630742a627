"""The operators' fake implementations: sizes, types and strides of the real results."""

from itertools import product

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only

from convnext_dense.kernels import operators
from tests.kernels import plain

EPS = plain.EPS


def described(results: tuple[torch.Tensor, ...]) -> list[tuple]:
    return [(tuple(v.shape), v.stride(), v.dtype, v.storage_offset()) for v in results]


def compare(operator, *arguments) -> tuple[torch.Tensor, ...]:
    real = operator(*arguments)
    with FakeTensorMode() as mode:
        fake = operator(*tree_map_only(torch.Tensor, mode.from_tensor, arguments))
    assert described(fake) == described(real)
    inputs = {v.untyped_storage().data_ptr() for v in arguments if torch.is_tensor(v)} - {0}
    assert not inputs & {v.untyped_storage().data_ptr() for v in real}  # nor may one be returned
    return real


def feature_maps(kind: str, dtype: torch.dtype) -> torch.Tensor:
    """(N, H, W, 4): contiguous, with gaps, channels-first in memory, or an empty batch."""
    torch.manual_seed(0)
    if kind == "gaps":
        return torch.randn(2, 1, 4, 4, dtype=dtype)[:, :, ::2]
    if kind == "channels-first":
        return torch.randn(2, 4, 1, 2, dtype=dtype).permute(0, 2, 3, 1)
    return torch.randn(0 if kind == "none" else 2, 1, 2, 4, dtype=dtype)


KINDS = ("contiguous", "gaps", "channels-first", "none")
DTYPES = [(torch.float32, torch.float32), (torch.bfloat16, torch.float32), (torch.half, torch.half)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "of_parameters"), DTYPES, ids=str)
def test_convolution_and_norm(fused_path, kind, dtype, of_parameters):
    x = feature_maps(kind, dtype)
    w, b, g, s = (v.detach() for v in plain.parameters(4, dtype=of_parameters)[:4])
    compare(operators.dwconv_norm, x, w, b, g, s, EPS, False)
    _, *saved = compare(operators.dwconv_norm, x, w, b, g, s, EPS, True)
    # Filters of a model in channels-last memory.
    other = w.to(memory_format=torch.channels_last)
    grad = feature_maps("gaps" if kind != "none" else kind, dtype)
    for filters, needs in product((w, other), ((True, True), (False, True), (True, False))):
        compare(operators.dwconv_norm_backward, grad, x, *saved, filters, g, *needs)
        if kind != "contiguous":
            break


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "of_parameters"), DTYPES, ids=str)
def test_mlp(fused_path, kind, dtype, of_parameters):
    y = feature_maps(kind, dtype)
    parameters = [v.detach() for v in plain.parameters(4, dtype=of_parameters)[4:]]
    for fused, gamma in product((True, False), (True, False)):
        parameters = parameters[:4] + (parameters[4:] if gamma else [None])
        residual = feature_maps(kind, of_parameters)
        compare(operators.mlp, y, residual, *parameters, fused, fused, False)
        _, h = compare(operators.mlp, y, residual, *parameters, fused, fused, True)
        w1, _, *others = parameters
        for needs in product((True, False), (True, False)):
            compare(operators.mlp_backward, residual, y, h, w1, *others, fused, *needs)
        if kind != "contiguous":
            break
        parameters = [v.detach() for v in plain.parameters(4, dtype=of_parameters)[4:]]
