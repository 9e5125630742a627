"""What a run is shown, how often, and by which score it is kept or ended: its flags may differ."""

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from convnext_dense.config.config_tree import walk
from convnext_dense.optim.schedulers import type_name
from convnext_dense.optim.stepping import as_list

COUNTED = ("step_size", "epoch_images")  # settings of a sampler that follow from others
EARLY_STOP = "EarlyStopHook"
AVERAGE = "WeightAverageHook"
# Of the average: what its lack means in the run or in its checkpoint.
LOST, BEGUN = "ends here: --average-weights keeps it", "begins here, from the weights as they are"
Row = tuple[str, str, str, str]


def changed_rows(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Row]:
    """A row for each of these that differs: the training images, their sampler, the scores.

    Args:
        before: The config of the checkpoint's run as far as it is known.
        now: The config of this one.
    """
    rows: list[Row] = []
    for name, section, read in (
        ("training images", "train_dataloader", _pipelines),
        ("sampler", "train_dataloader", _sampler),
        ("save best", "default_hooks", _save_best),
        ("early stop", "custom_hooks", _early_stop),
        ("averaged weights", "custom_hooks", _average),
    ):
        if section not in before:
            continue
        pair = [dict(read(one.get(section))) for one in (before, now)]
        if _text([*pair[0].items()]) != _text([*pair[1].items()]):
            rows += _rows(name, *pair)
    return rows


def _rows(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Row]:
    """What both consist of, side by side, in as many rows as that needs."""
    note = "other settings" if [*before] == [*now] else ""
    if name == "averaged weights" and not (before and now):
        note = LOST if before else BEGUN
    for number, pair in enumerate(zip_longest(before or ["none"], now or ["none"], fillvalue="")):
        yield ("", *pair, "") if number else (name, *pair, note)


def _pipelines(loader: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
    """The steps of the training images; equal names are counted, so that none is lost."""
    nodes = [node for node in walk((loader or {}).get("dataset")) if "pipeline" in node]
    count: dict[str, int] = {}
    for step in [step for node in nodes for step in node["pipeline"] or []]:
        kind = type_name(step["type"])
        count[kind] = count.get(kind, 0) + 1
        yield (kind if count[kind] == 1 else f"{kind} ({count[kind]})"), step


def _sampler(loader: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
    sampler = (loader or {}).get("sampler")
    if sampler:
        settings = {key: value for key, value in sampler.items() if key not in COUNTED}
        yield type_name(sampler["type"]), settings


def _save_best(hooks: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
    checkpoint = (hooks or {}).get("checkpoint") or {}
    figures = checkpoint.get("save_best") or []
    for figure in [figures] if isinstance(figures, str) else figures:
        yield figure, checkpoint.get("rule")


def _early_stop(hooks: Any) -> Iterator[tuple[str, Any]]:
    for hook in as_list(hooks):
        if type_name(hook["type"]) == EARLY_STOP:
            yield f"after {hook['patience']} evaluations of {hook['monitor']}", None


def _average(hooks: Any) -> Iterator[tuple[str, Any]]:
    for hook in as_list(hooks):
        if type_name(hook["type"]) == AVERAGE:
            decay = hook.get("decay")
            yield ("decay by the length" if decay is None else f"decay {decay:g}"), None


def _text(node: Any) -> str:
    """The same for what is the same, read from a file or not: tuples as lists."""
    return json.dumps(node, sort_keys=True, default=str)
