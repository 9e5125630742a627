"""A store of feature maps: in memory up to a bound, then in a temporary file."""

import tempfile
from typing import NamedTuple

import torch
from torch import Tensor

from convnext_dense.errors import UserError


class _MapInFile(NamedTuple):
    """Position and type of a feature map in the file."""

    start: int
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device


class FeatureStore:
    """Keeps the feature maps of many views in bounded memory, so that each is computed once.

    Feature maps stay on their device as long as all of them together fit the bound. The others
    are written without loss to one temporary file, which is deleted with the store. The file is in
    the system's temporary folder (``TMPDIR``); if that folder is in memory, set another one.

    Args:
        memory: Bytes of feature maps to keep in the device's memory; 0 writes all to the file.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.used = 0
        self._entries: list[list[Tensor | _MapInFile]] = []
        self._file = None

    def __enter__(self) -> "FeatureStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._entries.clear()
        if self._file is not None:
            self._file.close()

    def put(self, maps: tuple[Tensor, ...]) -> int:
        """Stores the feature maps of one view; returns their number for :meth:`get`.

        Raises:
            UserError: When the temporary folder is full.
        """
        size = _storage_bytes(maps)
        fits = self.used + size <= self.memory
        if fits:
            self.used += size
        self._entries.append([tensor if fits else self._write(tensor) for tensor in maps])
        return len(self._entries) - 1

    def get(self, number: int) -> tuple[Tensor, ...]:
        """The feature maps of one view, unchanged and on their device."""
        return tuple(
            self._read(entry) if isinstance(entry, _MapInFile) else entry
            for entry in self._entries[number]
        )

    def _write(self, tensor: Tensor) -> _MapInFile:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        start = self._file.seek(0, 2)
        try:
            self._file.write(_as_bytes(tensor.contiguous().cpu()))
        except OSError as error:
            raise UserError(
                f"The features of all views do not fit into {tempfile.gettempdir()} ({error}): set "
                "TMPDIR to a folder with more space, or raise tta_views.feature_memory."
            ) from error
        return _MapInFile(start, tensor.shape, tensor.dtype, tensor.device)

    def _read(self, entry: _MapInFile) -> Tensor:
        tensor = torch.empty(entry.shape, dtype=entry.dtype)
        self._file.seek(entry.start)
        self._file.readinto(_as_bytes(tensor))
        return tensor.to(entry.device)


def _storage_bytes(maps: tuple[Tensor, ...]) -> int:
    """Bytes that the feature maps keep allocated: a view of a larger tensor keeps all of it."""
    storages = [tensor.untyped_storage() for tensor in maps]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _as_bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor, as bytes since numpy has no bfloat16."""
    return memoryview(tensor.view(-1).view(torch.uint8).numpy())
