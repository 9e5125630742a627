"""Backward passes by autograd, where hand-written ones cannot be differentiated or vmapped."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


# Dynamo's own evaluation of this function is wrong: the decorator has it called instead.
@torch.compiler.assume_constant_result
def in_functorch_transform() -> bool:
    """Whether the caller runs inside one of torch.func's transforms (vmap, grad, jvp ...)."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def needs_autograd(grad: Tensor) -> bool:
    """Whether a backward pass is differentiated again, or batched over several gradients."""
    batched = torch._C._functorch.is_legacy_batchedtensor(grad)  # is_grads_batched
    return torch.is_grad_enabled() or in_functorch_transform() or batched


def gradients_by_autograd(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor | None],
    grad: Tensor,
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients of the needed inputs, by torch's operators.

    Args:
        function: Recomputes the forward pass.
        inputs: Its arguments.
        grad: Gradient of its result.
        needed: For each input, whether its gradient is needed; further values are ignored.

    Returns:
        A gradient for each input, None where it is not needed.
    """
    differentiated = [value for value, need in zip(inputs, needed, strict=False) if need]
    if not differentiated:
        return [None] * len(inputs)
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        result = function(*inputs)
    gradients = iter(torch.autograd.grad(result, differentiated, grad, create_graph=create_graph))
    return [next(gradients) if need else None for _, need in zip(inputs, needed, strict=False)]
