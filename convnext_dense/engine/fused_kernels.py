"""What a run's log says of the blocks' fused kernels: whether they are taken, and if one fails."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from torch import nn

from convnext_dense.kernels.availability import describe
from convnext_dense.kernels.failures import KernelWarning
from convnext_dense.models.block import Block


def log_choice(model: nn.Module, cfg: Config, logger: logging.Logger) -> None:
    """Logs one line on what computes the blocks of a model, where there is a choice.

    Raises:
        UserError: When ``CONVNEXT_DENSE_KERNELS`` is neither 0 nor 1.
    """
    if not any(isinstance(module, Block) and module.fast for module in model.modules()):
        return
    sentence = describe(next(model.parameters()).device, precision(cfg))
    if sentence:
        logger.info(sentence)


def precision(cfg: Config) -> torch.dtype:
    """What a run computes its products in."""
    wrapper = cfg.get("optim_wrapper") or {}
    if wrapper.get("type") == "AmpOptimWrapper":
        return getattr(torch, wrapper.get("dtype") or "float16")
    return torch.float32


@contextmanager
def failures_in_log_file(logger: logging.Logger) -> Iterator[None]:
    """Has a kernel's failure in the log file too; Python's warning stands on the screen."""
    show = warnings.showwarning

    def show_and_write(message, category, *place) -> None:
        show(message, category, *place)
        if issubclass(category, KernelWarning):
            record = logger.makeRecord(logger.name, logging.WARNING, "", 0, str(message), (), None)
            for handler in logger.handlers:
                if isinstance(handler, logging.FileHandler):
                    handler.handle(record)

    warnings.showwarning = show_and_write
    try:
        yield
    finally:
        warnings.showwarning = show
