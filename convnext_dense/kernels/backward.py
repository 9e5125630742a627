"""Backward passes by autograd, where hand-written ones can be neither differentiated nor mapped."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


# Dynamo would answer this by itself, and wrongly, were it not told to call the function.
@torch.compiler.assume_constant_result
def in_transform() -> bool:
    """Whether one of torch.func's transforms (vmap, grad, jvp ...) is under way."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def left_to_autograd(grad: Tensor) -> bool:
    """Whether a backward pass is differentiated again, or made for several gradients at once."""
    several = torch._C._functorch.is_legacy_batchedtensor(grad)  # is_grads_batched
    return torch.is_grad_enabled() or in_transform() or several


def by_autograd(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor | None],
    grad: Tensor,
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients of the needed inputs, by torch's operations.

    Args:
        function: Computes the forward pass again.
        inputs: Its arguments.
        grad: Gradient of its result.
        needed: Whose gradients are; more values than inputs are left alone.

    Returns:
        One for each input, None where it is not needed.
    """
    wanted = [value for value, need in zip(inputs, needed, strict=False) if need]
    if not wanted:
        return [None] * len(inputs)
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        result = function(*inputs)
    found = iter(torch.autograd.grad(result, wanted, grad, create_graph=again))
    return [next(found) if need else None for _, need in zip(inputs, needed, strict=False)]
