"""Finds `mmcv._ext` where no other finder does."""

import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

NAME = "mmcv._ext"
SOURCE = Path(__file__).with_name("extension.py")


class ExtensionFinder(importlib.abc.MetaPathFinder):
    """Finds `extension.py` under the name `mmcv._ext`, and nothing else."""

    def find_spec(self, fullname, path, target=None) -> ModuleSpec | None:
        if fullname != NAME:
            return None
        return importlib.util.spec_from_file_location(NAME, SOURCE)


FINDER = ExtensionFinder()


def install() -> None:
    """Make `import mmcv._ext` work where mmcv has no compiled operators.

    The finder goes to the end of `sys.meta_path`: where a compiled `mmcv._ext` exists, another
    finder answers first. Calling this again, or without mmcv, changes nothing.
    """
    if FINDER not in sys.meta_path:
        sys.meta_path.append(FINDER)


def provider() -> str | None:
    """The package whose operators `mmcv.ops` uses; imports mmcv to find out.

    Returns:
        `"mmcv"` for compiled ones, `"torchvision"` for those of this package, `None` where
        `mmcv.ops` cannot be imported (no mmcv, or nothing compiled and no `install()` before).
    """
    if importlib.util.find_spec("mmcv") is None:
        return None
    spec = importlib.util.find_spec(NAME)
    if spec is None:
        return None
    return "torchvision" if spec.origin == str(SOURCE) else "mmcv"
