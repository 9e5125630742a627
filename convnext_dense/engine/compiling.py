"""Compilation by blocks: small graphs that equal blocks share, not one of a whole detector."""

import shutil

import torch
from mmengine.logging import print_log
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.models.block import Block

# Versions of one function: each width and each rate of stochastic depth, training and evaluation,
# and a second one where sizes of pictures vary.
VERSIONS = 256


def compile_blocks(model: nn.Module, backend: str = "inductor") -> int:
    """Has torch compile every ConvNeXt block when it is first called; names and weights stay.

    A block is compiled for the first size it sees, and again, for any size, when another one comes.

    Returns:
        The number of blocks.

    Raises:
        UserError: Where the model has none, or the CPU's compiler is missing.
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
        block.compile(fullgraph=True, backend=backend)
    print_log(f"--compile: {len(blocks)} blocks; the first iterations take minutes.", "current")
    return len(blocks)
