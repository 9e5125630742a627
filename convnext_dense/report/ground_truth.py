"""The truth of a test, found through its own config: datasets and their label files."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope
from mmengine.utils import import_modules_from_strings

from convnext_dense.browse.samples import build_dataset
from convnext_dense.config.config_tree import datasets
from convnext_dense.errors import UserError
from convnext_dense.report.work_folders import Test

# What building a dataset raises where its files are not there, or a newer version reads it.
BROKEN = (OSError, KeyError, TypeError, ValueError, AttributeError, AssertionError, ImportError)


def data_config(test: Test) -> dict[str, Any]:
    """The dict of the tested dataset.

    Raises:
        UserError: When the config names none, or the data is not where it says.
    """
    found = datasets(Config(test.config), "test")
    if not found:
        raise UserError("The config of this test names no data, so there is no truth to show.")
    root = found[0].data_root
    if not Path(root).exists():
        raise UserError(
            f"The data is not at {root}, where this test read it, so there is no truth to compare "
            "or to show: put it back, or test again with --data-root."
        )
    return found[0]


@contextlib.contextmanager
def open_dataset(test: Test) -> Iterator[BaseDataset]:
    """The tested pictures, in the scope of their toolbox; samples are pictures and truth as read.

    Raises:
        UserError: When the data is not there or cannot be opened.
    """
    config = data_config(test)
    try:
        imports = (test.config.get("custom_imports") or {}).get("imports") or []
        import_modules_from_strings(imports)
        loading = [step for step in config.pipeline if "Load" in step["type"]]
        with DefaultScope.overwrite_default_scope(test.config["default_scope"]):
            yield build_dataset(config, pipeline=loading)
    except UserError:
        raise
    except BROKEN as error:
        words = " ".join(str(error).split())[:200]
        raise UserError(
            f"The data of this test cannot be opened ({type(error).__name__}: {words})."
        ) from error
