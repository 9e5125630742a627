"""``--fit-memory`` as entries of a config: decided once, in every process, and kept by a resume.

The images of a step stay the recipe's: batch x accumulation x processes is constant, and so the
learning rate needs no change. What a recipe counts in iterations is multiplied by the batches of a
step, so that the run has the recipe's steps.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, broadcast_object_list, get_rank

from convnext_dense.config.config_tree import walk
from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.errors import UserError
from convnext_dense.preflight.memory.choice import (
    GIB,
    MARGIN,
    MIB,
    RESERVE,
    Choice,
    Predictor,
    Split,
    choose,
    kind_name,
    table,
)
from convnext_dense.preflight.memory.image_size import largest_images
from convnext_dense.preflight.memory.prediction import predict_memory
from convnext_dense.preflight.memory.setting import apply_setting
from convnext_dense.preflight.memory.splits import (
    allowed_splits,
    checkpointing_kinds,
    images_of_step,
)
from convnext_dense.preflight.memory.trial import batch_norms
from convnext_dense.preflight.step_probe import resident_bytes
from convnext_dense.runs import AUTO
from convnext_dense.runs.processes import connect


def fit_memory(
    settled: SettledConfig,
    limit: float | str,
    options: Mapping[str, Any],
    *,
    processes: int,
    own_data: bool,
    refitted: bool,
    shape_buckets: int | None = None,
) -> str:
    """Chooses batch, accumulation and checkpointing for the memory, and puts them into a config.

    Args:
        settled: A config that was fitted to its data; heads and frozen parts are settled.
        limit: GiB of each process, or ``AUTO``: what the GPU has free.
        options: ``--cfg-options``, ``--accumulate`` among them: what they name is not chosen.
        processes: Number of training processes.
        own_data: Whether the data are a user's, who may have fewer images than a batch.
        refitted: Whether the schedule is fitted to them afterwards.
        shape_buckets: ``--shape-buckets``.

    Returns:
        The table for the console; it is the same in all processes.

    Raises:
        UserError: Where nothing fits, or where it cannot be told.
    """
    cfg = settled.cfg
    check_limit(limit)
    if processes > 1:
        connect(cfg)
    size = largest_images(cfg, shape_buckets)
    choice, usable, source = _agreed(settled, limit, size, options, processes, own_data)
    chosen = choice.chosen
    record = dict(
        limit_gib=round(usable / GIB, 3),
        predicted_gib=round(chosen.predicted / GIB, 3),
        image=list(size),
        processes=processes,
        batch=chosen.split.batch,
        accumulation=chosen.split.accumulated,
        checkpointing=kind_name(chosen.checkpointing),
    )
    recipe_sees = images_of_step(settled, options, processes)
    apply_setting(settled, record, "--fit-memory", options, refitted)
    step = f"{recipe_sees} images a step in {processes} process{'es' if processes > 1 else ''}"
    head = f"--fit-memory: {usable / GIB:.2f} GiB {source}; {step}, of {size[0]} x {size[1]} pixels"
    return "\n".join([head, *table(choice), *_remarks(cfg, processes, recipe_sees)])


def _agreed(
    settled: SettledConfig, limit: float | str, size: tuple[int, int], *data: Any
) -> tuple[Choice, float, str]:
    """The choice of all processes, for the one with the least memory; the memory, and whose it is.

    Raises:
        UserError: In all of them.
    """
    prepared = _prepared(settled, size, *data) if get_rank() == 0 else ""
    # Not before the first trial, which leaves the libraries that a training needs too.
    usable, source = usable_bytes(limit)
    usable = min(all_gather_object(usable))
    decided = [prepared if isinstance(prepared, str) else _decided(*prepared, usable)]
    broadcast_object_list(decided)
    (choice,) = decided
    if isinstance(choice, str):
        raise UserError(choice)
    return choice, usable, source


def _prepared(
    settled: SettledConfig,
    size: tuple[int, int],
    options: Mapping[str, Any],
    processes: int,
    own_data: bool,
) -> tuple[list[Split], tuple[bool | str | None, ...], Predictor] | str:
    """What is chosen among, with the first kind predicted; or the sentence of a refusal."""
    cfg = settled.cfg

    @cache
    def predictor(kind: bool | str | None) -> Callable[[Split], float]:
        prediction = predict_memory(cfg, size, kind, processes=processes)
        return lambda split: prediction.bytes(split.batch, split.accumulated)

    try:
        splits = allowed_splits(settled, options, processes, own_data)
        kinds = checkpointing_kinds(cfg, options)
        predictor(kinds[0])
    except UserError as error:
        return str(error)
    return splits, kinds, predictor


def _decided(*choices: Any) -> Choice | str:
    """:func:`choose`, or the sentence of its refusal: all processes are to raise it."""
    try:
        return choose(*choices)
    except UserError as error:
        return str(error)


def check_limit(limit: float | str) -> None:
    """Asks for a number where there is no GPU that could tell one.

    Raises:
        UserError: On a CPU without a number.
    """
    if limit == AUTO and not torch.cuda.is_available():
        raise UserError(
            "--fit-memory needs a number on a CPU: the GiB that the training process may have, as "
            "in --fit-memory 8."
        )


def usable_bytes(limit: float | str) -> tuple[float, str]:
    """Bytes for the training of this process, and what they are."""
    if not torch.cuda.is_available():
        taken = resident_bytes() or 0
        return limit * GIB - taken, f"are left of {limit:g} (the program itself has the rest)"
    free = torch.cuda.mem_get_info()[0]
    if limit == AUTO:
        return free, "are free on the GPU"
    return limit * GIB, f"as given ({free / GIB:.2f} GiB are free on the GPU)"


def _remarks(cfg: Config, processes: int, step: int) -> list[str]:
    """What else is to be known of the setting, a line each."""
    lines = [
        f"  A setting fits where there are {MARGIN - 1:.0%} and {RESERVE / MIB:.0f} MiB more than "
        "it is predicted to need."
    ]
    if batch_norms(cfg):
        synced = any(node.get("type") == "SyncBN" for node in walk(cfg.model))
        seen = cfg.train_dataloader.batch_size * (processes if synced else 1)
        if seen != step:
            lines.append(
                f"  Batch norms see the {seen} images of a batch, not the {step} of a step."
            )
    return lines
