"""Compilation by blocks: small graphs that equal blocks share, not one of a whole detector."""

import shutil

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from convnext_dense.errors import UserError
from convnext_dense.models.block import Block

# Versions of one function: each width and each rate of stochastic depth, training and evaluation,
# and a second one where sizes of images vary.
VERSIONS = 256


def compile_blocks(model: nn.Module, buckets: int | None = None, backend: str = "inductor") -> int:
    """Has torch compile every ConvNeXt block when it is first called; names and weights stay.

    A block is compiled for the first size it sees, and again, for any size, when another one comes.

    Args:
        model: A detector, segmentor, classifier or backbone.
        buckets: Pixels. Batches of training are padded to multiples of them, and blocks compiled
            for each of the few sizes that remain. Evaluation is as without.
        backend: torch.compile's.

    Returns:
        The number of blocks.

    Raises:
        UserError: Where the model has none, or does not pad; where the CPU's compiler is missing.
    """
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    if not blocks:
        raise UserError("--compile is for ConvNeXt's blocks, and the model has none: leave it out.")
    on_cpu = next(model.parameters()).device.type == "cpu"
    if backend == "inductor" and on_cpu and not (shutil.which("g++") or shutil.which("clang++")):
        raise UserError("--compile needs a C++ compiler (g++) here: install it, or leave it out.")
    torch._dynamo.config.recompile_limit = VERSIONS
    torch._dynamo.config.accumulated_recompile_limit = 4 * VERSIONS
    for block in blocks:
        _compile(block, backend, each_size=buckets is not None)
    if buckets is not None:
        _pad_to(buckets, model)
    print_log(f"--compile: {len(blocks)} blocks; the first iterations take minutes.", "current")
    return len(blocks)


def _compile(block: Block, backend: str, each_size: bool) -> None:
    """As ``block.compile``, but for each size of training by itself where that is wanted."""
    evaluating = training = torch.compile(block._call_impl, fullgraph=True, backend=backend)
    if each_size:
        training = torch.compile(block._call_impl, fullgraph=True, backend=backend, dynamic=False)

    def call(x: Tensor) -> Tensor:
        return (training if block.training else evaluating)(x)

    block._compiled_call_impl = call


def _pad_to(pixels: int, model: nn.Module) -> None:
    """Has a detector's preprocessor pad batches of training to multiples of some pixels."""
    preprocessor = getattr(model, "data_preprocessor", None)
    usual = getattr(preprocessor, "pad_size_divisor", None)
    if not usual:
        raise UserError(
            "--shape-buckets is for detectors, whose images differ in size: leave it out."
        )
    if pixels < usual or pixels % usual:
        raise UserError(f"--shape-buckets {pixels} must be a multiple of {usual}, as in 128.")

    def choose(module: nn.Module, arguments: tuple) -> None:
        training = arguments[1] if len(arguments) > 1 else False
        module.pad_size_divisor = pixels if training else usual

    preprocessor.register_forward_pre_hook(choose)
