"""A run executes nothing that it reads: no pickles beside checkpoints, no Python objects in YAML.

mmengine's ``load`` unpickles every .pkl it is given, its YAML may name Python objects, and its
checkpoint loader hands old files to pickle. While a run or a tool reads (:func:`safe_reading`) and
in its data workers to their end, mmengine's handlers of these files are replaced by safe ones; at
all other times they are mmengine's own. Files that a library unpickles without asking mmengine are
refused by their config entry. Python objects that the processes of one run send to each other are
not files from outside.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from mmengine.config import Config
from mmengine.fileio.handlers import PickleHandler, YamlHandler
from mmengine.fileio.handlers.registry_utils import file_handlers

from convnext_dense.config.config_tree import entries
from convnext_dense.errors import UserError

SUFFIXES = (".pkl", ".pickle", ".joblib")
# Entries by which mmdet and mmsegmentation unpickle by themselves (OpenImages, medical images).
UNPICKLING = {"hierarchy_file": None, "decode_backend": "pickle"}
REASON = "could run code, and is not read: write its content as JSON, or arrays as .npy"


@contextmanager
def safe_reading() -> Iterator[None]:
    """Has mmengine refuse pickles and Python objects, in all threads; also a decorator."""
    _replacement.begin()
    try:
        yield
    finally:
        _replacement.end()


def read_safely_from_now_on() -> None:
    """The same to the end of this process, which belongs to a run."""
    _replacement.begin()


class RefusingHandler(PickleHandler):
    """Refuses a pickle that mmengine would read; mmengine may still write them."""

    def load_from_fileobj(self, file, **kwargs) -> Any:
        """Refuses to read.

        Raises:
            UserError: Always.
        """
        raise UserError(f"A pickle (.pkl) {REASON}.")


class SafeYamlHandler(YamlHandler):
    """Reads YAML as plain data."""

    def load_from_fileobj(self, file, **kwargs) -> Any:
        """Reads plain data.

        Raises:
            UserError: When the file names anything else.
        """
        try:
            return yaml.safe_load(file)
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise UserError(f"A YAML file cannot be read as plain data: {reason}.") from error


class _Replacement:
    """Replaces mmengine's handlers while at least one run reads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._readers = 0
        self._handlers: dict[str, Any] = {}
        self._schemes: dict[str, Any] = {}

    def begin(self) -> None:
        """One more reads; the first one replaces the handlers."""
        with self._lock:
            self._readers += 1
            if self._readers == 1:
                self._replace()

    def end(self) -> None:
        """One less reads; the last one gives the handlers back."""
        with self._lock:
            self._readers -= 1
            if not self._readers:
                self._give_back()

    def _replace(self) -> None:
        from mmengine.runner.checkpoint import CheckpointLoader

        from convnext_dense.weights import register_safe_loader

        safe = {
            **dict.fromkeys(("pkl", "pickle"), RefusingHandler()),
            **dict.fromkeys(("yaml", "yml"), SafeYamlHandler()),
        }
        self._handlers = {suffix: file_handlers[suffix] for suffix in safe}
        file_handlers.update(safe)
        self._schemes = dict(CheckpointLoader._schemes)
        register_safe_loader()

    def _give_back(self) -> None:
        from mmengine.runner.checkpoint import CheckpointLoader

        file_handlers.update(self._handlers)
        CheckpointLoader._schemes = self._schemes


_replacement = _Replacement()


def refuse_pickles(cfg: Config) -> None:
    """Refuses a config that reads pickles, before anything is built.

    Raises:
        UserError: Names the entry.
    """
    for key, value in entries(cfg.to_dict()):
        name = key.rsplit(".", 1)[-1]
        is_read = isinstance(value, str) and value.endswith(SUFFIXES) and not name.startswith("out")
        if is_read:
            raise UserError(f"{key} names {value}: a pickle {REASON}.")
        if value and name in UNPICKLING and UNPICKLING[name] in (None, value):
            raise UserError(f"{key}={value} reads a pickle, which {REASON}.")
