"""One block with the fused kernels in every setting, compared with timm's in float64."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn

from convnext_dense import kernels
from convnext_dense.kernels import availability
from convnext_dense.models import Block

from .cases import (
    BF16,
    CASES,
    FLOAT,
    HALF,
    TOLERANCES,
    WIDE,
    WIDTH,
    Case,
    new_block,
    new_input,
    require,
    setting,
)
from .check import Check, Results, compare, expect_fused_path, first_tiles, only_on_gpu

TIMM = {"dwconv": "conv_dw", "pwconv1": "mlp.fc1", "pwconv2": "mlp.fc2"}  # ours -> theirs


def gradients(block: nn.Module, x: Tensor, y: Tensor) -> Results:
    """The output, and the gradients of input and parameters for a random gradient of the output."""
    draw = torch.Generator().manual_seed(2)
    grad = torch.randn(y.shape, generator=draw).to(y)
    targets = {"input": x} | {n: p for n, p in block.named_parameters() if p.requires_grad}
    actual = torch.autograd.grad(y, list(targets.values()), grad)
    return {"output": y} | {
        f"gradient of {name}": value for name, value in zip(targets, actual, strict=True)
    }


def timm_block(block: Block) -> nn.Module:
    """timm's block with the same parameters, in float64 on the CPU."""
    width = block.norm.normalized_shape[0]
    twin = ConvNeXtBlock(width, ls_init_value=None if block.gamma is None else 1.0).double()
    own = dict(twin.named_parameters())
    for name, parameter in block.named_parameters():
        layer, dot, rest = name.partition(".")
        theirs = own.pop(TIMM.get(layer, layer) + dot + rest)
        theirs.data.copy_(parameter.detach())
        theirs.requires_grad_(parameter.requires_grad)
    assert not own, f"timm's block has further parameters: {[*own]}."
    return twin


def exact_results(block: Block, x: Tensor, share: Tensor | None = None) -> Results:
    """The results of timm's block in float64; ``share`` (N,) is the factor of each branch."""
    twin = timm_block(block)
    leaf = x.detach().cpu().double().requires_grad_()
    y = twin(leaf)
    if share is not None:
        y = leaf + share.view(-1, 1, 1, 1) * (y - leaf)
    theirs = {theirs: ours for ours, theirs in TIMM.items()}
    actual = gradients(twin, leaf, y)
    for name, new in theirs.items():
        actual = {key.replace(f" {name}.", f" {new}."): value for key, value in actual.items()}
    return actual


def check_available(device: str) -> None:
    """The kernels run and are enabled; an error of their trial is an error here."""
    for dtype in (FLOAT, BF16, HALF):
        if device == "cuda" and torch.cuda.get_device_capability() < availability.MIN_CAPABILITY:
            require(device, dtype)
        with first_tiles(device):
            answer = kernels.available(device, dtype)
        assert answer, answer.reason
        assert kernels.usable(device, None, dtype), f"{availability.SWITCH} does not enable them."


def check_case(case: Case, device: str) -> None:
    """A block in one setting."""
    if case.timed:
        only_on_gpu(device, "Tiles are autotuned on a GPU only.")
    require(device, case.autocast or case.dtype)
    block = new_block(case.width or WIDTH[device], case.gamma).to(device, case.dtype)
    for name, parameter in block.named_parameters():
        frozen = case.frozen == "all" or (case.frozen and name.startswith(case.frozen))
        parameter.requires_grad_(not frozen)
    x = new_input(case, device)
    # Nothing is launched for an empty batch.
    watch = expect_fused_path() if case.batch else nullcontext()
    with setting(case, device):
        with watch, torch.inference_mode(not case.train):
            y = block.train(case.train)(x)
        assert y.dtype == x.dtype, f"An input of {x.dtype} gave an output of {y.dtype}."
        actual = gradients(block, x, y) if case.train else {"output": y}
    exact = exact_results(block, x)
    compare(actual, {name: exact[name] for name in actual}, case.tolerance)


def check_drop_path(
    rate: float,
    kept: str,
    device: str,
    make: Callable[[Block], Callable] = lambda block: block,
) -> None:
    """Stochastic depth that keeps ``none``, ``some`` or ``all`` of the samples.

    Args:
        rate: Drop path rate.
        kept: The samples that are kept; seeds are tried until a draw keeps these.
        device: See :class:`Check`.
        make: Wraps the block, such as for compilation.
    """
    require(device)
    case = Case(batch=1 if kept == "all" else 4)
    block, x = new_block(WIDTH[device], drop_path=rate).to(device).train(), new_input(case, device)
    run = make(block)
    for seed in range(100):
        torch.manual_seed(seed)
        with setting(case, device), expect_fused_path():
            y = run(x)
        branch = (y.detach() != x.detach()).flatten(1).any(1).cpu()  # samples with a branch
        if {0: "none", len(x): "all"}.get(int(branch.sum()), "some") == kept:
            break
    else:
        raise AssertionError(f"No seed of 100 kept {kept} of the samples at a rate of {rate}.")
    with setting(case, device):
        actual = gradients(block, x, y)
    share = branch.double() / (1 - rate) if kept != "none" else branch.double()
    compare(actual, exact_results(block, x, share), TOLERANCES[FLOAT])


def check_repeats(device: str) -> None:
    """Two runs agree in every bit."""
    require(device, BF16)
    case = Case(autocast=BF16)
    block, x = new_block(WIDTH[device]).to(device), new_input(case, device)
    with setting(case, device):
        runs = [gradients(block, x, block(x)) for _ in range(2)]
    for name, value in runs[0].items():
        assert torch.equal(value, runs[1][name]), f"Two runs differ in the {name}."


CHECKS = (
    Check("fused/available", check_available),
    *(
        Check(f"fused/{name}", partial(check_case, case), cheap=name == "eval-float32")
        for name, case in CASES.items()
    ),
    *(
        Check(f"fused/drop-path-{kept}", partial(check_drop_path, rate, kept))
        for kept, rate in (("none", 1.0), ("some", 0.5), ("all", 0.3))
    ),
    Check("fused/two-runs-agree", check_repeats),
)
WIDE_CHECKS = tuple(
    Check(f"fused/{name}", partial(check_case, case)) for name, case in WIDE.items()
)
