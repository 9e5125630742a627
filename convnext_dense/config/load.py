"""One door from a config file to a config that can run here: data root, classes, device.

What depends on the data (classes, masks) or on the machine (mixed precision, SyncBN) is settled
here, before anything is built, so that leaf configs state the recipe and nothing else.
"""

import difflib
import importlib.util
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.utils import import_modules_from_strings

from convnext_dense.config.check_types import check_option, check_types_and_settings
from convnext_dense.config.check_values import check_values
from convnext_dense.config.launcher import world_size
from convnext_dense.config.plain import SUFFIXES, read_plain_file
from convnext_dense.config.safe_reading import refuse_pickles, refusing_pickles
from convnext_dense.config.tree import SPLITS, datasets, walk
from convnext_dense.data.class_folders.fit_config import fit_to_classes
from convnext_dense.data.coco.fit_config import fit_to_data
from convnext_dense.data.labels.fit_config import fit_to_labels
from convnext_dense.data.own_data import CustomData, use_custom_data
from convnext_dense.data.shapes.dataset import prepare_shapes
from convnext_dense.errors import MissingDataError, UserError
from convnext_dense.optim.schedulers import check_schedule

DATA_ROOT_VARIABLE = "CONVNEXT_DENSE_DATA"
DEFAULT_DATA_ROOT = "data"
AMP_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}
# mmengine scope of a config -> (package it needs, extra of ours that installs it)
TOOLBOXES = {"mmdet": ("mmdet", "detection"), "mmseg": ("mmseg", "segmentation")}


@refusing_pickles()
def load_config(
    path: str | os.PathLike,
    *,
    data_root: str | os.PathLike | None = None,
    cfg_options: dict[str, Any] | None = None,
    amp: str | None = None,
    launcher: str = "none",
    require_data: bool = True,
    splits: tuple[str, ...] = SPLITS,
    classes: tuple[str, ...] | None = None,
    custom: CustomData | None = None,
) -> Config:
    """Reads a config file and settles what depends on flags, data and machine.

    Args:
        path: Config file.
        data_root: Folder that holds ``coco/``, ``shapes/`` ...; by default the environment
            variable ``CONVNEXT_DENSE_DATA``, then ``data``.
        cfg_options: ``{"dotted.key": value}`` that replace entries of the config.
        amp: ``off``, ``fp16`` or ``bf16`` instead of the config's mixed precision.
        launcher: What starts the processes: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        require_data: Read the annotation files to set the classes. Without it no data needs to
            be there, and heads without ``num_classes`` keep their library's default.
        splits: The splits whose data must exist, out of ``train``, ``val`` and ``test``.
        classes: Class names that a checkpoint was trained with; the data must know them.
        custom: Own data in the place of the config's.

    Returns:
        The resolved config. It can be written to a file and loaded again.

    Raises:
        UserError: For a missing file, a missing toolbox, or data that does not fit.
    """
    cfg = read_config(path)
    if custom is not None:
        use_custom_data(cfg, custom, cfg_options or {})
    if cfg_options:
        merge_options(cfg, cfg_options)
    refuse_pickles(cfg)
    require_toolbox(cfg)
    import_registering_modules(cfg)
    check_types_and_settings(cfg)
    check_values(cfg)
    set_data_root(cfg, data_root)
    if require_data:
        make_embedded_data(cfg, splits)
        try:
            for fit in (fit_to_data, fit_to_labels, fit_to_classes):
                fit(cfg, splits, classes)
        except MissingDataError as error:
            raise UserError(f"{error} {_tried(cfg.data_root, data_root, error.path)}") from error
    check_schedule(cfg)
    set_precision(cfg, amp)
    set_batch_norm(cfg, launcher)
    cfg.launcher = launcher
    return cfg


@refusing_pickles()
def read_config(path: str | os.PathLike) -> Config:
    """Reads a config file as it is: a .py is executed, .yaml and .json are read as data.

    Raises:
        UserError: When it is missing or cannot be read.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no config file {path}.")
    if Path(path).suffix in SUFFIXES:
        return Config(read_plain_file(Path(path)), filename=str(path))
    try:
        return Config.fromfile(path, import_custom_modules=False)
    except (SyntaxError, NameError, TypeError, ValueError, KeyError, OSError) as error:
        raise UserError(f"The config {path} cannot be read: {error}") from error


def merge_options(cfg: Config, options: dict[str, Any]) -> None:
    """Replaces entries of a config by ``{"dotted.key": value}``.

    Raises:
        UserError: When the config has no such section, or the value does not fit there.
    """
    for key in options:
        section = key.split(".")[0]
        if section not in cfg:
            near = difflib.get_close_matches(section, list(cfg), n=1, cutoff=0)
            raise UserError(
                f"--cfg-options {key}: the config has no {section!r}; the nearest is {near[0]!r}."
            )
        check_option(cfg, key)
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, IndexError, AssertionError) as error:
        raise UserError(f"--cfg-options does not fit the config: {error}") from error


def require_toolbox(cfg: Config) -> None:
    """Names the missing toolbox of a config, and how to install it."""
    package, extra = TOOLBOXES.get(cfg.get("default_scope"), (None, None))
    if package and importlib.util.find_spec(package) is None:
        raise UserError(
            f"This config needs {package}, which is not installed: "
            f"run pip install '.[{extra}]' in a checkout of convnext_dense."
        )


def import_registering_modules(cfg: Config) -> None:
    """Imports what the config's ``custom_imports`` name, with one sentence where that fails."""
    try:
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


def set_data_root(cfg: Config, data_root: str | os.PathLike | None) -> None:
    """Puts the data root in front of every dataset's own folder, once.

    The root is kept as ``cfg.data_root``; loading a resolved config again moves its datasets to
    the new root instead of nesting them.
    """
    previous = cfg.get("data_root")
    root = str(data_root or os.environ.get(DATA_ROOT_VARIABLE) or previous or DEFAULT_DATA_ROOT)
    cfg.data_root = root
    for split in SPLITS:
        for dataset in datasets(cfg, split):
            folder = dataset.data_root
            if previous and Path(folder).is_relative_to(previous):
                folder = os.path.relpath(folder, previous)
            dataset.data_root = os.path.normpath(os.path.join(root, folder))


def _tried(root: str, given: str | os.PathLike | None, path: str) -> str:
    """Which data root was taken and why, and the usual mistake where it is one."""
    variable = os.environ.get(DATA_ROOT_VARIABLE)
    if given:
        source = "from --data-root"
    elif variable:
        source = f"from {DATA_ROOT_VARIABLE}; no --data-root"
    else:
        source = f"the config's own or the default; no --data-root, no {DATA_ROOT_VARIABLE}"
    text = f"Tried: {os.path.abspath(path)} under the data root {root} ({source})."
    inside = Path(os.path.relpath(path, root)).parts
    if Path(root, *inside[1:]).exists() and Path(root).resolve().name == inside[0]:
        text += f" The data root is one folder too deep: give --data-root {Path(root).parent}."
    return text


def make_embedded_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Draws the shapes data on first use, where a dataset of these splits lies under it."""
    shapes = Path(cfg.data_root) / "shapes"
    for split in splits:
        if any(Path(dataset.data_root).is_relative_to(shapes) for dataset in datasets(cfg, split)):
            if not shapes.is_dir():
                _say_drawing(cfg.data_root)
            prepare_shapes(cfg.data_root)
            return


def _say_drawing(root: str) -> None:
    """Announces the embedded data; a root that somebody named must be there already."""
    if root != DEFAULT_DATA_ROOT and not Path(root).is_dir():
        raise UserError(
            f"There is no data root {root}: correct --data-root or the environment variable "
            f"{DATA_ROOT_VARIABLE}, or create the folder; the embedded data is drawn into it."
        )
    print_log(f"Drawing the embedded data into {root}/shapes, once; that takes half a minute.")


def set_precision(cfg: Config, amp: str | None) -> None:
    """Applies ``--amp``, and float32 where the machine lacks the config's precision."""
    wrapper = cfg.get("optim_wrapper")
    if wrapper is None:
        return
    if amp == "off":
        _use_float32(wrapper)
    elif amp in AMP_DTYPES:
        wrapper.type = "AmpOptimWrapper"
        wrapper.dtype = AMP_DTYPES[amp]
        # bfloat16 has the exponent range of float32 and needs no loss scaling.
        wrapper.loss_scale = dict(enabled=False) if amp == "bf16" else "dynamic"
    if wrapper.type != "AmpOptimWrapper":
        return
    if not torch.cuda.is_available():
        if amp is not None:
            print_log(f"No CUDA device: --amp {amp} has no effect, training in float32.")
        _use_float32(wrapper)
    elif wrapper.dtype == "bfloat16" and not torch.cuda.is_bf16_supported(
        including_emulation=False
    ):
        print_log("This GPU has no bfloat16: training in float32 (--amp fp16 is available).")
        _use_float32(wrapper)


def _use_float32(wrapper: ConfigDict) -> None:
    wrapper.type = "OptimWrapper"
    for key in ("dtype", "loss_scale"):
        wrapper.pop(key, None)


def set_batch_norm(cfg: Config, launcher: str) -> None:
    """SyncBN needs several CUDA processes; in one process it is BN, with the same parameters."""
    if world_size(launcher) > 1 and torch.cuda.is_available():
        return
    for node in walk(cfg.model):
        if node.get("type") == "SyncBN":
            node.type = "BN"
