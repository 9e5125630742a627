"""From a config file and flags to a checked config that can run on this machine.

Nothing here reads data: :mod:`convnext_dense.data.fit` fits the config to it afterwards.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from convnext_dense.config.check_types import check_types_and_settings
from convnext_dense.config.check_values import check_values
from convnext_dense.config.data_root import set_data_root
from convnext_dense.config.launcher import rank
from convnext_dense.config.machine import set_batch_norm, set_precision
from convnext_dense.config.options import merge_options
from convnext_dense.config.reading import import_registering_modules, read_config, require_toolbox
from convnext_dense.config.renamed import rename_saved
from convnext_dense.config.safe_reading import refuse_pickles, safe_reading
from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.models.unread_maps import drop_unread_maps
from convnext_dense.optim.schedulers import check_schedule


def load_config(path: str | os.PathLike | Config, **flags: Any) -> Config:
    """The config of :func:`settle_config`, without its record.

    Heads without ``num_classes`` keep their library's default, since no data is read;
    :func:`convnext_dense.data.fit.load_fitted_config` reads it.
    """
    return settle_config(path, **flags).cfg


@safe_reading()
def settle_config(
    path: str | os.PathLike | Config,
    *,
    data_root: str | os.PathLike | None = None,
    cfg_options: dict[str, Any] | None = None,
    amp: str | None = None,
    launcher: str = "none",
    before_options: Callable[[Config], None] | None = None,
) -> SettledConfig:
    """Reads a config file, applies the flags, and settles what depends on the machine.

    Args:
        path: Config file, or a config that was read already.
        data_root: Folder that holds ``coco/``, ``shapes/`` ...; by default the environment
            variable ``CONVNEXT_DENSE_DATA``, then ``data``.
        cfg_options: ``{"dotted.key": value}`` that replace entries of the config.
        amp: ``off``, ``fp16`` or ``bf16`` instead of the config's mixed precision.
        launcher: Program that starts the processes: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        before_options: Changes the config before ``cfg_options``, which win over it.

    Returns:
        The config with its record. It can be written to a file and loaded again.

    Raises:
        UserError: For a missing file, a missing toolbox, or an entry that cannot be right.
    """
    settled = SettledConfig(path if isinstance(path, Config) else read_config(path))
    if before_options is not None:
        with settled.changing("your own data") as cfg:
            before_options(cfg)
    with settled.changing("--cfg-options") as cfg:
        merge_options(cfg, cfg_options or {})
        rename_saved(cfg)
    _check(cfg)
    with settled.changing("the data root") as cfg:
        set_data_root(cfg, data_root)
    check_schedule(cfg)
    with settled.changing(f"--amp {amp}" if amp else "the precision of this machine") as cfg:
        set_precision(cfg, amp)
    with settled.changing("one process, or no GPU: SyncBN is BN") as cfg:
        set_batch_norm(cfg, launcher)
    with settled.changing("--launcher") as cfg:
        cfg.launcher = launcher
    with settled.changing("feature maps that nothing reads") as cfg:
        said = drop_unread_maps(cfg.model)
    if rank(launcher) == 0:
        for sentence in said:
            _say(sentence)
    return settled


@cache  # once, also where a command reads the config again
def _say(sentence: str) -> None:
    print_log(sentence)


def _check(cfg: Config) -> None:
    refuse_pickles(cfg)
    require_toolbox(cfg)
    import_registering_modules(cfg)
    check_types_and_settings(cfg)
    check_values(cfg)
