"""The flags of a training, as a value that is handed on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convnext_dense.cli.shared.unlabelled_flags import UnlabelledFlags
from convnext_dense.data.own.own_data import OwnData
from convnext_dense.errors import UserError


@dataclass(frozen=True)
class TrainFlags:
    """See ``tools/train.py --help``; names and meanings are those of the flags.

    Attributes:
        own_data: The data of ``--train-json``, ``--images`` ..., or None.
        unlabelled: What ``convnext-dense pretrain`` takes beside these flags, or None.
    """

    config: str
    work_dir: str | None = None
    data_root: str | None = None
    cfg_options: dict[str, Any] | None = None
    resume: str | None = None
    warm_restart: bool = False
    load_from: str | None = None
    amp: str | None = None
    dry_run: bool = False
    scan: bool = False
    seed: int | None = None
    deterministic: bool = False
    auto_scale_lr: bool = False
    max_iters: int | None = None
    accumulate: int | None = None
    fit_memory: float | str | None = None
    fsdp: bool = False
    compile: bool = False
    shape_buckets: int | None = None
    backbone_weights: str | None = None
    ema: bool = False
    weights_prefix: str | None = None
    replay: str | None = None
    epochs: int | None = None
    log: Sequence[str] | None = None
    launcher: str = "none"
    value_range: Sequence[float] | None = None
    freeze: str | None = None
    head_lr_mult: float | None = None
    lora: int | None = None
    average_weights: float | str | None = None
    early_stop: int | None = None
    save_best: str | None = None
    balance: bool = False
    augment: str | None = None
    few: bool = False
    own_data: OwnData | None = None
    unlabelled: UnlabelledFlags | None = None

    def check(self) -> None:
        """Refuses flags that do not go together.

        Raises:
            UserError: Names them.
        """
        for flag in ("dry_run", "scan"):
            if getattr(self, flag) and self.launcher != "none":
                raise UserError(
                    f"--{flag.replace('_', '-')} runs in one process: leave out --launcher."
                )
        if self.warm_restart and not self.resume:
            raise UserError("--warm-restart belongs to a resumed run: add --resume.")
        if self.shape_buckets is not None and not self.compile:
            raise UserError(
                "--shape-buckets is for compiled blocks: add --compile, or leave it out."
            )
        if self.ema and not self.backbone_weights:
            raise UserError("--ema belongs to --backbone-weights: name the pretraining run too.")
        if self.backbone_weights and self.load_from:
            raise UserError("--backbone-weights and --load-from exclude each other: give one.")
        if isinstance(self.fit_memory, float) and not 0 < self.fit_memory < math.inf:
            raise UserError(
                f"--fit-memory takes a number of GiB above 0, such as 8, got {self.fit_memory:g}."
            )
        for flag in ("accumulate", "max_iters"):
            value = getattr(self, flag)
            if value is not None and value < 1:
                raise UserError(f"--{flag.replace('_', '-')} must be at least 1, got {value}.")
