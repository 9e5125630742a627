"""Feature maps put aside until they are needed again: in memory up to a bound, then in a file."""

import tempfile
from typing import NamedTuple

import torch
from torch import Tensor

from convnext_dense.errors import UserError


class _Spilled(NamedTuple):
    """A map in the file."""

    start: int
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device


class FeatureStore:
    """Keeps the feature maps of many views in bounded memory, each computed once.

    Maps stay where they are as long as all of them together fit the bound. What does not fit goes
    bit by bit into one temporary file, which vanishes with the store. The file lies in the
    system's temporary folder (``TMPDIR``); where that is kept in memory, name another folder.

    Args:
        memory: Bytes of maps to keep in the device's memory; 0 writes every map to the file.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.used = 0
        self._entries: list[list[Tensor | _Spilled]] = []
        self._file = None

    def __enter__(self) -> "FeatureStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._entries.clear()
        if self._file is not None:
            self._file.close()

    def put(self, maps: tuple[Tensor, ...]) -> int:
        """Puts the maps of one view aside; returns the number to :meth:`get` them by.

        Raises:
            UserError: When the temporary folder is full.
        """
        size = _held_bytes(maps)
        fits = self.used + size <= self.memory
        if fits:
            self.used += size
        self._entries.append([tensor if fits else self._write(tensor) for tensor in maps])
        return len(self._entries) - 1

    def get(self, number: int) -> tuple[Tensor, ...]:
        """The maps of one view, bit by bit as they were put in, on their device."""
        return tuple(
            self._read(entry) if isinstance(entry, _Spilled) else entry
            for entry in self._entries[number]
        )

    def _write(self, tensor: Tensor) -> _Spilled:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        start = self._file.seek(0, 2)
        try:
            self._file.write(_as_bytes(tensor.contiguous().cpu()))
        except OSError as error:
            raise UserError(
                f"The features of all views do not fit {tempfile.gettempdir()} ({error}): set "
                "TMPDIR to a folder with room, or raise tta_views.feature_memory."
            ) from error
        return _Spilled(start, tensor.shape, tensor.dtype, tensor.device)

    def _read(self, spilled: _Spilled) -> Tensor:
        tensor = torch.empty(spilled.shape, dtype=spilled.dtype)
        self._file.seek(spilled.start)
        self._file.readinto(_as_bytes(tensor))
        return tensor.to(spilled.device)


def _held_bytes(maps: tuple[Tensor, ...]) -> int:
    """Bytes that stay allocated with the maps: of a part of a larger tensor all of that one."""
    storages = [tensor.untyped_storage() for tensor in maps]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _as_bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor; numpy has no bfloat16, so bytes it is."""
    return memoryview(tensor.view(-1).view(torch.uint8).numpy())
