"""Reading a config file: Python is executed, YAML and JSON are read as data."""

import importlib.util
import os
from importlib import import_module
from pathlib import Path

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from convnext_dense.config.plain import SUFFIXES, read_plain_file
from convnext_dense.config.renamed import rename_saved
from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.errors import UserError
from convnext_dense.tasks import entry_of

ENGINE = "convnext_dense.engine"  # by name: configs know registered names alone


@safe_reading()
def read_config(path: str | os.PathLike) -> Config:
    """Reads a config file as it is; names of earlier versions become the present ones.

    Raises:
        UserError: When it is missing or cannot be read.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no config file {path}.")
    if Path(path).suffix in SUFFIXES:
        cfg = Config(read_plain_file(Path(path)), filename=str(path))
    else:
        try:
            cfg = Config.fromfile(path, import_custom_modules=False)
        except (SyntaxError, NameError, TypeError, ValueError, KeyError, OSError) as error:
            raise UserError(f"The config {path} cannot be read: {error}") from error
    rename_saved(cfg)
    return cfg


def require_toolbox(cfg: Config) -> None:
    """Names the missing toolbox of a config, and how to install it.

    Raises:
        UserError: When it is missing.
    """
    entry = entry_of(cfg)
    if entry and entry.toolbox and importlib.util.find_spec(entry.toolbox) is None:
        raise UserError(
            f"This config needs {entry.toolbox}, which is not installed: "
            f"run pip install 'convnext_dense[{entry.name}]'."
        )


def add_import(cfg: Config, module: str) -> None:
    """Imports a module that registers what a config is about to name, and notes it there."""
    named = cfg.setdefault("custom_imports", dict(imports=[]))
    if module not in named["imports"]:
        named["imports"] = [*named["imports"], module]
    import_module(module)


def import_registering_modules(cfg: Config) -> None:
    """Imports the engine, whose hooks and loops a config names, and its ``custom_imports``.

    Raises:
        UserError: When that fails.
    """
    try:
        import_module(ENGINE)
        import_modules_from_strings(**cfg.get("custom_imports", dict(imports=[])))
    except (ImportError, AttributeError, TypeError) as error:
        # mmdet imports mmpretrain where it is installed, and that breaks with transformers 5.
        hint = (
            ""
            if importlib.util.find_spec("mmpretrain") is None
            else (
                " If it comes from mmpretrain, which mmdet imports when it finds it: pip uninstall "
                "mmpretrain, or install transformers below 5."
            )
        )
        raise UserError(
            f"The modules that the config names cannot be imported "
            f"({type(error).__name__}: {error}).{hint}"
        ) from error
