"""The ground truth of a test, opened with the dataset of its config."""

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
from convnext_dense.runs.saved_runs import Test

# Exceptions of building a dataset whose files are missing or belong to another version.
DATASET_ERRORS = (
    OSError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    AssertionError,
    ImportError,
)


def data_config(test: Test) -> dict[str, Any]:
    """The config of the tested dataset.

    Raises:
        UserError: If the config names no dataset, or the data is missing.
    """
    tested = datasets(Config(test.config), "test")
    if not tested:
        raise UserError("The config of this test names no data, so there is no ground truth.")
    root = tested[0].data_root
    if not Path(root).exists():
        raise UserError(
            f"The data is not at {root}, where this test read it, so there is no ground truth to "
            "compare with: put it back, or test again with --data-root."
        )
    return tested[0]


@contextlib.contextmanager
def open_dataset(test: Test) -> Iterator[BaseDataset]:
    """Opens the tested dataset in the scope of its toolbox; samples are images as read.

    Raises:
        UserError: If the data is missing or cannot be opened.
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
    except DATASET_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"The data of this test cannot be opened ({type(error).__name__}: {reason})."
        ) from error
