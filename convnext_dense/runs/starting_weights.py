"""The origin of a run's weights: a resumed run, a checkpoint, a pretraining run, the recipe."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from convnext_dense import weights
from convnext_dense.errors import UserError
from convnext_dense.models.trunk import parse_arch
from convnext_dense.runs import AUTO
from convnext_dense.runs.checkpointing import newest_whole
from convnext_dense.runs.work_folder import resolve_checkpoint
from convnext_dense.weights.loading import find_state_dict
from convnext_dense.weights.zoo import find_file

STAGED = ("ConvNeXt", "ConvNeXtTrunk", "ConvNeXtClassifier")  # their ``arch`` is a variant's
V1_OPTIONS = "model.backbone.use_grn=False model.backbone.layer_scale_init_value=1e-6"
V2_OPTIONS = "model.backbone.use_grn=True model.backbone.layer_scale_init_value=0"


def choose_weights(
    cfg: Config,
    *,
    resume: str | None = None,
    load_from: str | None = None,
    backbone_weights: str | None = None,
    ema: bool = False,
    prefix: str | None = None,
    is_trial: bool = False,
) -> None:
    """Settles where the weights come from, and has them at hand before anything is built.

    Args:
        cfg: The config of the run; changed in place.
        resume: ``--resume``: ``AUTO`` or a checkpoint.
        load_from: ``--load-from``: a checkpoint.
        backbone_weights: ``--backbone-weights``: the work folder or checkpoint of a pretraining, or
            a name of ``weights.zoo``.
        ema: Take the averaged weights of it.
        prefix: ``--weights-prefix``: where the backbone lies in its file.
        is_trial: The run is shortened by ``--max-iters``, and may start from random weights where
            the recipe's cannot be downloaded.

    Raises:
        UserError: For weights that are not there.
    """
    if load_from is not None:
        load_from = resolve_checkpoint(load_from)
    for flag, path in (("--resume", resume), ("--load-from", load_from)):
        if path in (None, AUTO) or Path(path).is_file():
            continue
        if flag == "--resume" or not weights.is_elsewhere(path):
            raise UserError(f"{flag} names {path}, which does not exist.")
        weights.local_file(path)  # an address or an official name: downloaded before all else
    if cfg.get("resume"):  # the resolved config of a resumed run, trained again
        cfg.load_from = None
    newest = newest_whole(Path(cfg.work_dir)) if resume == AUTO else resume
    cfg.resume = newest is not None
    cfg.load_from = str(newest) if newest else load_from or cfg.get("load_from")
    if resume and not newest:
        print_log(f"{cfg.work_dir} holds no checkpoint to resume: starting from the beginning.")
    backbone = cfg.model.get("backbone", {})
    if backbone_weights:
        hand_over(backbone, resolve_checkpoint(backbone_weights), ema)
    if prefix:
        _name_prefix(cfg, prefix)
    if cfg.get("load_from"):
        backbone.init_cfg = None  # the checkpoint holds the backbone
    elif (backbone.get("init_cfg") or {}).get("type") == "Pretrained":
        fetch_weights(backbone, is_trial)


def hand_over(backbone: ConfigDict, checkpoint: str, ema: bool) -> None:
    """Starts the backbone from a pretraining checkpoint instead of the recipe's file.

    Raises:
        UserError: When there is no such checkpoint, it has no averaged weights though ``ema`` asks
            for them, or the backbone is no ConvNeXt.
    """
    if not str(backbone.get("type", "")).startswith("ConvNeXt"):
        raise UserError(
            f"--backbone-weights starts a ConvNeXt, but the backbone is {backbone.get('type')}."
        )
    check_named(backbone, checkpoint, "--backbone-weights")
    content = weights.read_checkpoint(checkpoint)
    if ema:
        try:
            find_state_dict(content, ema=True)
        except UserError as error:
            raise UserError(
                f"--ema: {checkpoint} has no averaged weights; leave --ema out to take the "
                "plain ones."
            ) from error
    recipe = backbone.get("init_cfg") or {}
    # Whether the last map has the file's own norm belongs to the recipe, not to the file.
    kept = {key: recipe[key] for key in ("final_norm_to_norm3",) if key in recipe}
    backbone.init_cfg = dict(type="Pretrained", checkpoint=checkpoint, ema=ema, **kept)


def check_named(backbone: Mapping[str, Any], source: str, where: str) -> None:
    """Refuses a file with a name whose network is another one, before it is downloaded.

    Args:
        backbone: Config of the backbone.
        source: What names the file; only official names and addresses are known.
        where: What named it, for the message.

    Raises:
        UserError: For another size, or other blocks.
    """
    known = find_file(source)
    if known is None or Path(source).exists() or backbone.get("type") not in STAGED:
        return
    own = "V2" if backbone.get("use_grn") else "V1"
    if known.blocks == "isotropic":
        raise UserError(f"{where}: {source} is an isotropic ConvNeXt, which has no stages.")
    arch = backbone.get("arch", "tiny")
    if parse_arch(arch) != parse_arch(known.size):
        size = arch if isinstance(arch, str) else "of a size of its own"
        raise UserError(
            f"{where}: {source} is a ConvNeXt {known.size}, and the backbone is {size}: name "
            "weights of the backbone's size, or a config of the weights'."
        )
    if known.blocks != own:
        options = V2_OPTIONS if known.blocks == "V2" else V1_OPTIONS
        raise UserError(
            f"{where}: {source} has blocks of {known.blocks}, and the backbone those of {own}: "
            f"name other weights, or add --cfg-options {options}."
        )


def _name_prefix(cfg: Config, prefix: str) -> None:
    start = cfg.model.get("backbone", {}).get("init_cfg") or {}
    if cfg.get("load_from") or start.get("type") != "Pretrained":
        raise UserError(
            "--weights-prefix names a backbone in the file of --backbone-weights or of the "
            "recipe, and this run starts from neither: leave it out."
        )
    start.prefix = prefix


def fetch_weights(backbone: ConfigDict, is_trial: bool) -> None:
    """Has the starting weights at hand before anything is built.

    Args:
        backbone: Config of the backbone; a trial that starts from random weights changes it.
        is_trial: A run shortened by ``--max-iters`` may start from random weights where they cannot
            be downloaded. A full run may not: it would take days to show that they were missing.

    Raises:
        UserError: When a full run's weights are out of reach, a named file does not exist, or it
            is of another network.
    """
    source = str(backbone.init_cfg.checkpoint)
    if not backbone.init_cfg.get("allow_partial"):
        check_named(backbone, source, "init_cfg.checkpoint")
    try:
        weights.local_file(source, backbone.init_cfg.get("sha256"))
    except UserError as error:
        if not is_trial or not weights.is_elsewhere(source):
            raise
        print_log(
            f"{error} This shortened run starts from RANDOM weights; a full run would stop here.",
            level=logging.WARNING,
        )
        backbone.init_cfg = None
