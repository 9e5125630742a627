"""The flags of pretraining without labels, as a value that changes a config."""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mmengine.config import Config

from convnext_dense.cli.flags.pretrain import METHODS, SUPERVISED
from convnext_dense.config.names import find_shipped
from convnext_dense.data.own.own_data import OwnData
from convnext_dense.errors import UserError
from convnext_dense.models.trunk import parse_arch

TASK = "self_supervised"
MODELS = {"MaskedAutoencoder": "fcmae", "Distillation": "distill"}  # model of a config -> method
LABELLED = ("train_data", "val_data", "train_list", "val_list", "classes", "val_share", "group_by")
SCORED = ("early_stop", "save_best", "balance", "head_lr_mult")  # flags that need labels or a score


@dataclass(frozen=True)
class UnlabelledFlags:
    """What ``convnext-dense pretrain`` takes beside a config; see its ``--help``.

    Attributes:
        labelled: The first flag that was given for labelled data, such as ``--train-data``.
    """

    method: str | None = None
    images: str | None = None
    teacher: str | None = None
    arch: str | None = None
    image_size: int | None = None
    epochs: int | None = None
    labelled: str | None = None

    def apply(self, cfg: Config) -> None:
        """Puts the flags into a config as it was read, in place.

        Raises:
            UserError: For flags that do not go with the config, or with each other.
        """
        method = MODELS.get(cfg.model.get("type"), SUPERVISED)
        if self.method not in (None, method):
            raise UserError(
                f"{cfg.filename} trains by the method {method}, and --method says {self.method}: "
                "leave out one of the two."
            )
        if method == SUPERVISED:
            self._refuse_without_method()
            return
        if self.labelled:
            raise UserError(
                f"{self.labelled} needs labels or a score, and {method} has neither: leave it out; "
                "--images DIR names the images."
            )
        if self.teacher:
            self._set_teacher(cfg, method)
        if self.arch:
            parse_arch(self.arch)
            cfg.model.backbone.arch = self.arch
        if self.image_size is not None:
            set_image_size(cfg, self.image_size)
        if self.epochs is not None:
            set_epochs(cfg, self.epochs)

    def own_data(self) -> OwnData | None:
        """The folder of ``--images``; None where the config says it.

        Raises:
            UserError: When it is no folder.
        """
        if self.images is None:
            return None
        folder = Path(self.images)
        if not folder.is_dir():
            raise UserError(f"--images names {folder}, which is no folder.")
        return OwnData(TASK, {"train": (folder, folder)}, splits=("train",))

    def _refuse_without_method(self) -> None:
        given = [name for name in ("images", "teacher", "arch", "image_size", "epochs")
                 if getattr(self, name) is not None]  # fmt: skip
        if given:
            raise UserError(
                f"--{given[0].replace('_', '-')} belongs to pretraining without labels: add "
                "--method fcmae or --method distill and leave out the config of a classifier, or "
                "name labelled images with --train-data."
            )

    def _set_teacher(self, cfg: Config, method: str) -> None:
        if method != "distill":
            raise UserError(f"--teacher belongs to --method distill, and {method} has none.")
        cfg.model.teacher = dict(checkpoint=self.teacher)


def set_image_size(cfg: Config, size: int) -> None:
    """Sets the side of the views in pixels.

    Raises:
        UserError: For a size below that of a single position of the last stage.
    """
    if size < 32:
        raise UserError(f"--image-size must be at least 32 pixels, got {size}.")
    cfg.train_dataloader.dataset.transform.size = size


def set_epochs(cfg: Config, epochs: int) -> None:
    """Sets the length of the training, whose warmup keeps its share.

    Raises:
        UserError: For less than one epoch.
    """
    if epochs < 1:
        raise UserError(f"--epochs must be at least 1, got {epochs}.")
    schedule, length = cfg.param_scheduler, cfg.train_cfg.max_epochs
    cfg.train_cfg.max_epochs = epochs
    schedule.warmup = schedule.get("warmup", 0) * epochs // length
    schedule.end = epochs


def from_args(args: argparse.Namespace) -> UnlabelledFlags:
    """The flags of a parsed command line; a method without a config gets the shipped one.

    Raises:
        UserError: When there is neither a config nor a method.
    """
    if args.config is None:
        if args.method not in METHODS:
            raise UserError(
                "Name a config, such as convnext_t_in1k_300e, or train without labels: --method "
                "fcmae --images DIR."
            )
        args.config = str(find_shipped(METHODS[args.method]))
    named = {field.name: getattr(args, field.name, None) for field in fields(UnlabelledFlags)}
    return UnlabelledFlags(**{**named, "labelled": _first_labelled(args)})


def _first_labelled(args: argparse.Namespace) -> str | None:
    names: dict[str, Any] = dict.fromkeys(LABELLED + SCORED) | {"val_share": "split"}
    given = [name for name in names if getattr(args, name, None) not in (None, False)]
    return f"--{(names[given[0]] or given[0]).replace('_', '-')}" if given else None
