"""Equality without any tolerance, of values at any depth and of whole checkpoints."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from convnext_dense.weights import read_checkpoint

# What a resumed run goes on with; the rest of a checkpoint is names, times and paths.
PARTS = (
    *("state_dict", "state_dict_ema", "ema_state_dict", "optimizer", "param_schedulers"),
    *("random_state", "gradients"),
)
TIMES = ("time", "memory")  # what the message hub measures, instead of computing


def assert_equal(one: Any, other: Any, where: str = "checkpoint") -> None:
    """Bit for bit, at any depth."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, other), where
    elif isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{where}[{index}]")
    else:
        assert one == other, where


def assert_same_checkpoints(one: Path, other: Path) -> None:
    """The same weights, optimizer, schedules, random numbers and history of losses."""
    contents = read_checkpoint(one), read_checkpoint(other)
    for part in PARTS:
        assert_equal(*(content.get(part) for content in contents), part)
    assert_equal(*map(histories, contents), "log_scalars")
    places = [[content["meta"][key] for key in ("epoch", "iter", "seed")] for content in contents]
    assert places[0] == places[1]


def histories(checkpoint: dict) -> dict[str, np.ndarray]:
    """The logged curves, each from the run's first iteration on."""
    scalars = checkpoint["message_hub"]["log_scalars"]
    return {
        name: np.asarray(buffer.data[0])
        for name, buffer in scalars.items()
        if not name.endswith(TIMES)
    }
