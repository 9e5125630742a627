"""The ways to divide the images of a step that flags, model and data allow."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.data.check_images import build_dataset
from convnext_dense.data.fit_schedule import Batch, batch_of, iterations_per_epoch
from convnext_dense.errors import UserError
from convnext_dense.models.trunk import Trunk
from convnext_dense.preflight.memory.choice import CHECKPOINTING, Split, possible_splits
from convnext_dense.preflight.memory.setting import ACCUMULATION, BATCH, CHECKPOINTED
from convnext_dense.preflight.memory.trial import least_batch


def images_of_step(settled: SettledConfig, options: Mapping[str, Any], processes: int) -> int:
    """Images of a step of the optimizer that are to be kept.

    The recipe's. Where batch and accumulation are both given, theirs; and where the recipe itself
    scales its learning rate with the images of a step, those of its batch.
    """
    base = (settled.cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    scales = (settled.recipe.get("auto_scale_lr") or {}).get("enable")
    if base is None or scales or (BATCH in options and ACCUMULATION in options):
        return batch_of(settled.cfg, processes).step
    return base


def allowed_splits(
    settled: SettledConfig, options: Mapping[str, Any], processes: int, own_data: bool
) -> list[Split]:
    """The ways to divide a step that the flags, the model and the data allow.

    Raises:
        UserError: Where there is none.
    """
    cfg = settled.cfg
    images = images_of_step(settled, options, processes)
    mixing = cfg.model.get("data_preprocessor") or {}
    even = bool(mixing.get("mixup") or mixing.get("cutmix"))
    drops = own_data and cfg.train_dataloader.get("drop_last", False)
    total = len(build_dataset(cfg, cfg.train_dataloader.dataset)) if drops else None

    def allowed(split: Split) -> bool:
        return (
            split.batch >= least_batch(cfg)
            and options.get(BATCH) in (None, split.batch)
            and options.get(ACCUMULATION) in (None, split.accumulated)
            and not (even and split.batch % 2)
            and (total is None or iterations_per_epoch(cfg, total, _as_batch(split, processes)) > 0)
        )

    step = f"--fit-memory keeps the recipe's {images} images a step"
    if images % processes:
        raise UserError(
            f"{step}, and {processes} processes cannot have equally many of them: take a number of "
            f"processes that divides {images}."
        )
    splits = possible_splits(images // processes, allowed)
    if not splits:
        given = {BATCH: f"{BATCH}={options.get(BATCH)}",
                 ACCUMULATION: f"--accumulate {options.get(ACCUMULATION)}"}  # fmt: skip
        named = [text for name, text in given.items() if name in options]
        reason = (
            f"does not divide the {images // processes} of a process into batches that the model "
            "and the data can have: give another number, or leave it to --fit-memory"
        )
        raise UserError(
            f"{step}, and {' with '.join(named)} {reason}."
            if named
            else f"{step}, which make no batches that the model and the data can have: choose the "
            f"batch with --cfg-options {BATCH}=N."
        )
    return splits


def _as_batch(split: Split, processes: int) -> Batch:
    return Batch(split.batch, processes, split.accumulated)


def checkpointing_kinds(cfg: Config, options: Mapping[str, Any]) -> tuple[bool | str | None, ...]:
    """The kinds of checkpointing that the backbone knows; one where an option names it."""
    backbone = cfg.model.get("backbone") or {}
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmengine"):
        kind = MODELS.get(str(backbone.get("type")))
    is_ours = isinstance(kind, type) and issubclass(kind, Trunk)
    if CHECKPOINTED in options or not is_ours:
        return (backbone.get("with_cp"),) if "with_cp" in backbone else (None,)
    return CHECKPOINTING
