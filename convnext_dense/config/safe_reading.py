"""A run reads no pickle beside checkpoints: annotations, proposals, weights of losses, caches.

mmengine's ``load`` unpickles every .pkl it is given, and its YAML may name Python objects. Both are
refused while a run or a tool reads (:func:`refusing_pickles`), in its data processes to their end.
At other times ``load`` is mmengine's: a user who imports this package loads what he likes. What
unpickles without asking mmengine is refused by its config entry. Python objects that the processes
of one run send to each other are not files from outside.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from mmengine.config import Config
from mmengine.fileio import register_handler
from mmengine.fileio.handlers import PickleHandler, YamlHandler

from convnext_dense.errors import UserError

SUFFIXES = (".pkl", ".pickle", ".joblib")
# Entries by which mmdet and mmsegmentation unpickle by themselves (OpenImages, medical pictures).
UNPICKLING = {"hierarchy_file": None, "decode_backend": "pickle"}
REASON = "could run code, and is not read: write its content as JSON, or arrays as .npy"
_readers: list[None] = []  # one for each run that reads now; threads append and pop at once


@contextmanager
def refusing_pickles() -> Iterator[None]:
    """Has mmengine refuse pickles, and Python objects in YAML; also a decorator.

    In all threads: a run's own may read as well.
    """
    _readers.append(None)
    try:
        yield
    finally:
        _readers.pop()


def refuse_pickles_from_now_on() -> None:
    """The same to the end of this process, which belongs to a run."""
    _readers.append(None)


@register_handler(["pkl", "pickle"])
class RefusingHandler(PickleHandler):
    """mmengine's, but for a run it reads none."""

    def load_from_fileobj(self, file, **kwargs) -> Any:
        """Reads what a user loads.

        Raises:
            UserError: When a run reads.
        """
        if _readers:
            raise UserError(f"A pickle (.pkl) {REASON}.")
        return super().load_from_fileobj(file, **kwargs)


@register_handler(["yaml", "yml"])
class SafeYamlHandler(YamlHandler):
    """mmengine's, but for a run without Python objects."""

    def load_from_fileobj(self, file, **kwargs) -> Any:
        """Reads plain data; for a user whatever mmengine reads.

        Raises:
            UserError: When a run reads, and the file names anything else.
        """
        if not _readers:
            return super().load_from_fileobj(file, **kwargs)
        try:
            return yaml.safe_load(file)
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise UserError(f"A YAML file cannot be read as plain data: {reason}.") from error


def refuse_pickles(cfg: Config) -> None:
    """Refuses a config that reads pickles, before anything is built.

    Raises:
        UserError: Names the entry.
    """
    for key, value in _entries(cfg.to_dict()):
        name = key.rsplit(".", 1)[-1]
        is_read = isinstance(value, str) and value.endswith(SUFFIXES) and not name.startswith("out")
        if is_read:
            raise UserError(f"{key} names {value}: a pickle {REASON}.")
        if value and name in UNPICKLING and UNPICKLING[name] in (None, value):
            raise UserError(f"{key}={value} reads a pickle, which {REASON}.")


def _entries(node: Any, key: str = "") -> list[tuple[str, Any]]:
    """Every value of a config with its dotted key."""
    if isinstance(node, dict):
        pairs = node.items()
    elif isinstance(node, list | tuple):
        pairs = enumerate(node)
    else:
        return [(key, node)]
    return [found for name, value in pairs for found in _entries(value, f"{key}.{name}".strip("."))]
