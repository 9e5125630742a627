"""Dense prediction with ConvNeXt.

``import convnext_dense`` alone is light: it imports neither torch nor mmengine, so that ``--help``
and shell completion answer at once. Its models, optimizer constructor and schedules are registered
as soon as mmengine is there (``registration.py``); a sub-package that is imported by itself
registers what it defines.

Everything that the import changes outside of this package, with the reason:

- mmengine's root registries hold the models, the optimizer constructor and the schedules: configs
  name them, and mmdet's and mmsegmentation's registries fall back to the root.
- ``mmcv._ext`` can be imported, from torchvision's operators, where mmcv was installed without its
  compiled extension: mmdet's models import it by that name.

The engine (``convnext_dense.engine``) registers its runner, loops and hooks when it is imported.
"""

from importlib import import_module
from typing import Any

from convnext_dense import ops, registration
from convnext_dense.version import __version__

__all__ = ["__version__", "load", "models", "ops", "optim"]

ops.install()
registration.register_with_mmengine()


def __getattr__(name: str) -> Any:
    """Imports ``models``, ``optim`` and what :func:`load` needs when they are first asked for."""
    if name in ("models", "optim"):
        return import_module(f"{__name__}.{name}")
    if name == "load":
        return import_module(f"{__name__}.inference.model").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
