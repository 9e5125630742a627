"""The objects that a checkpoint's pickle may build in addition to tensors.

mmengine's checkpoints name a few objects that ``torch.load(weights_only=True)`` refuses. The real
ones would not be safe: ``builtins.getattr`` reaches every module from any function, and
``numpy.ndarray`` or ``numpy.dtype`` accept a state in which the file's bytes are read as object
pointers. Each name is therefore mapped to a narrow replacement in this module, which builds the
same values out of plain data and refuses everything else.
"""

import re
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals


class RefusedGlobalError(Exception):
    """The pickle needs more than plain data; the message names the forbidden object."""


class _DType:
    """Replaces ``numpy.dtype``: numbers, truth values and text of fixed width, no objects."""

    def __init__(self, name: str, align: bool = False, copy: bool = False) -> None:
        if not isinstance(name, str) or not re.fullmatch(r"[biufcSU]\d{1,4}", name):
            raise RefusedGlobalError(f"numpy.dtype({name!r})")
        self.value = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[2:5] != (None, None, None):
            raise RefusedGlobalError("numpy.dtype with fields")
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class _Array(np.ndarray):
    """Replaces ``numpy.ndarray``; pickles again as a plain array."""

    def __new__(cls) -> "_Array":
        return super().__new__(cls, 0)

    def __setstate__(self, state: tuple) -> None:
        if len(state) != 5 or type(state[2]) is not _DType or type(state[4]) is not bytes:
            raise RefusedGlobalError("numpy.ndarray of objects")
        _, shape, dtype, fortran, data = state
        super().__setstate__((1, shape, dtype.value, fortran, data))

    def __reduce__(self) -> tuple:
        return self.view(np.ndarray).__reduce__()


def _reconstruct(kind: type, *_: Any) -> _Array:
    """Replaces ``numpy._core.multiarray._reconstruct``."""
    if kind is not _Array:
        raise RefusedGlobalError(f"numpy._core.multiarray._reconstruct of {kind!r}")
    return _Array()


def _scalar(dtype: _DType, data: bytes) -> np.generic:
    """Replaces ``numpy._core.multiarray.scalar``."""
    if type(dtype) is not _DType or type(data) is not bytes or len(data) != dtype.value.itemsize:
        raise RefusedGlobalError("numpy._core.multiarray.scalar of objects")
    return np.ndarray((), dtype.value, data)[()]


class _History(HistoryBuffer):
    """Replaces mmengine's ``HistoryBuffer``, which it turns into.

    The original's ``__setstate__`` lets a file replace the statistics of the whole class.
    """

    def __new__(cls) -> "_History":
        return super().__new__(cls)

    def __setstate__(self, state: dict) -> None:
        self.__class__ = HistoryBuffer
        self.__init__(
            state["_log_history"], state["_count_history"], max_length=int(state["max_length"])
        )


def _one_cycle(*_: Any) -> None:
    """Replaces mmengine's ``OneCycleParamScheduler``, whose annealing function is stored."""
    raise RefusedGlobalError("a call of OneCycleParamScheduler")


def _config_dict(items: dict) -> ConfigDict:
    """Replaces mmengine's ``ConfigDict`` (settings of a dataset)."""
    if type(items) is not dict:
        raise RefusedGlobalError(f"ConfigDict of {type(items)!r}")
    return ConfigDict(items)


_ATTRIBUTES = {
    **{(_History, name): vars(HistoryBuffer)[name] for name in ("min", "max", "current", "mean")},
    (_one_cycle, "_annealing_cos"): OneCycleParamScheduler._annealing_cos,
    (_one_cycle, "_annealing_linear"): OneCycleParamScheduler._annealing_linear,
}


def _attribute(owner: Any, name: str) -> Any:
    """Replaces ``builtins.getattr``, by which pickle names a method, for six methods only."""
    for (known, attribute), value in _ATTRIBUTES.items():
        if owner is known and name == attribute:
            return value
    raise RefusedGlobalError(f"builtins.getattr({owner!r}, {name!r})")


ALLOWED: dict[str, Any] = {
    "builtins.getattr": _attribute,
    "mmengine.logging.history_buffer.HistoryBuffer": _History,
    "mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler": _one_cycle,
    "mmengine.config.config.ConfigDict": _config_dict,
    "argparse.Namespace": Namespace,
    "numpy.dtype": _DType,
    "numpy.ndarray": _Array,
    # numpy 1 and numpy 2 name the module differently.
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
}


@contextmanager
def only_plain_data() -> Iterator[None]:
    """Lets ``torch.load(weights_only=True)`` accept tensors and ``ALLOWED`` only.

    Objects that other libraries have allowed for the whole process are refused meanwhile.
    """
    before = get_safe_globals()
    clear_safe_globals()
    add_safe_globals([(replacement, name) for name, replacement in ALLOWED.items()])
    try:
        yield
    finally:
        clear_safe_globals()
        add_safe_globals(before)
