"""Fitting a config to its data: the embedded data, own data by flags, classes and heads."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from convnext_dense.config.config_tree import SPLITS, datasets
from convnext_dense.config.data_root import (
    DATA_ROOT_VARIABLE,
    DEFAULT_DATA_ROOT,
    explain_data_root,
)
from convnext_dense.config.load import settle_config
from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.data.bands.fit import fit_bands
from convnext_dense.data.bands.settings import Start
from convnext_dense.data.own.own_data import OwnData, own_data_step
from convnext_dense.data.shapes.dataset import prepare_shapes
from convnext_dense.data.shapes.panoptic import add_panoptic
from convnext_dense.errors import MissingDataError, UserError
from convnext_dense.tasks import task_of


def load_fitted_config(path: str | os.PathLike, **options: Any) -> Config:
    """The config of :func:`settle_with_data`, without its record."""
    return settle_with_data(path, **options).cfg


@safe_reading()
def settle_with_data(
    path: str | os.PathLike,
    *,
    splits: tuple[str, ...] = SPLITS,
    classes: tuple[str, ...] | None = None,
    own_data: OwnData | None = None,
    data_root: str | os.PathLike | None = None,
    cfg_options: dict[str, Any] | None = None,
    value_range: tuple[float, float] | None = None,
    start: Callable[[], Start | None] = lambda: None,
    **flags: Any,
) -> SettledConfig:
    """Reads a config and fits it to its data.

    Args:
        path: Config file.
        splits: The splits whose data must exist, out of ``train``, ``val`` and ``test``.
        classes: Class names that a checkpoint was trained with; the data must know them.
        own_data: Data in the place of the config's.
        value_range, start: See :func:`convnext_dense.data.bands.fit.fit_bands`.
        data_root, cfg_options, flags: See :func:`convnext_dense.config.load.settle_config`.

    Raises:
        UserError: For a config that cannot be right, and data that is missing or does not fit.
    """
    settled = settle_config(
        path,
        data_root=data_root,
        cfg_options=cfg_options,
        before_options=own_data_step(own_data, cfg_options),
        **flags,
    )
    fit_to_data(settled, splits, classes, data_root, value_range, start)
    return settled


@safe_reading()
def fit_to_data(
    settled: SettledConfig,
    splits: tuple[str, ...],
    classes: tuple[str, ...] | None = None,
    data_root: str | os.PathLike | None = None,
    value_range: tuple[float, float] | None = None,
    start: Callable[[], Start | None] = lambda: None,
) -> None:
    """Sets class names, heads and branches from the data; draws the embedded data on first use.

    Args:
        settled: A config whose datasets have full paths.
        splits: The splits whose data must exist.
        classes: Class names that a checkpoint was trained with.
        data_root: ``--data-root``, for the message where data is missing.
        value_range, start: See :func:`convnext_dense.data.bands.fit.fit_bands`.

    Raises:
        UserError: For data that is missing or does not fit.
    """
    _draw_embedded_data(settled.cfg, splits)
    try:
        with settled.changing("fitted to the data") as cfg:
            task_of(cfg).fit_config(cfg, splits, classes)
        fit_bands(settled, task_of(settled.cfg), splits, value_range, start)
    except MissingDataError as error:
        root = settled.cfg.data_root
        raise UserError(f"{error} {explain_data_root(root, data_root, error.path)}") from error


def _draw_embedded_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Draws the shapes data on first use, where a dataset of these splits lies under it.

    Raises:
        UserError: For a data root that somebody named and that is not there.
    """
    root = cfg.data_root
    shapes = Path(root) / "shapes"
    folders = [Path(dataset.data_root) for split in splits for dataset in datasets(cfg, split)]
    if not any(folder.is_relative_to(shapes) for folder in folders):
        return
    if not shapes.is_dir():
        if root != DEFAULT_DATA_ROOT and not Path(root).is_dir():
            raise UserError(
                f"There is no data root {root}: correct --data-root or the environment variable "
                f"{DATA_ROOT_VARIABLE}, or create the folder; the embedded data is drawn into it."
            )
        print_log(f"Drawing the embedded data into {root}/shapes, once; this takes half a minute.")
    prepare_shapes(root)
    for split in splits:
        for dataset in datasets(cfg, split):
            if (dataset.get("data_prefix") or {}).get("seg") and "panoptic_" in dataset.ann_file:
                add_panoptic(shapes, Path(dataset.ann_file).stem.removeprefix("panoptic_"))
