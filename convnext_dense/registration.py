"""Registers models, optimizer constructor and schedules as soon as mmengine is imported.

Where mmengine is there already, as for ``custom_imports=["convnext_dense"]`` of a config, they are
registered at once. Otherwise importing mmengine, now or later, registers them: a script may import
this package before the toolbox that uses it.
"""

import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

MMENGINE = "mmengine"
REGISTERING = ("convnext_dense.models", "convnext_dense.optim")


def register_with_mmengine() -> None:
    """Registers at once where mmengine is imported, else as soon as it is."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    finder.register_if_possible()


class _Finder(importlib.abc.MetaPathFinder):
    """Finds no module: it only sees what is imported, until everything is registered."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Has mmengine's own loader register when it is done."""
        if name != MMENGINE:
            self.register_if_possible()
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader, self)
        return spec

    def register_if_possible(self, is_loaded: bool = False) -> None:
        """Registers, unless mmengine or a part of this package is only half imported.

        A part of this package that imports mmengine cannot be imported again from inside of it:
        the first import after it registers the rest.
        """
        names = [] if is_loaded else [MMENGINE]
        if sys.modules.get(MMENGINE) is None or self not in sys.meta_path:
            return
        names += [name for name in sys.modules if name.startswith("convnext_dense.")]
        if any(_is_half_imported(name) for name in names):
            return
        sys.meta_path.remove(self)
        for name in REGISTERING:
            import_module(name)


class _RegisteringLoader(importlib.abc.Loader):
    """A module's own loader, which registers at its end."""

    def __init__(self, loader: importlib.abc.Loader, finder: _Finder) -> None:
        self.loader = loader
        self.finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own loader does."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Executes the module, and registers."""
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        self.finder.register_if_possible(is_loaded=True)


def _is_half_imported(name: str) -> bool:
    module = sys.modules.get(name)
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))
