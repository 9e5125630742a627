"""The split of a run, written down: which images were taken for validation, and by which flags."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from convnext_dense.atomic_files import make_folder, write_atomically
from convnext_dense.data.own.splitting import digest, split_groups
from convnext_dense.data.text_files import read_json
from convnext_dense.errors import UserError

SPLIT_FILE = "split.json"  # in the folder of what is made of own data
FLAGS = {"share": "--split", "seed": "--seed", "group_by": "--group-by"}
AGAIN = "resume with the flags and the data of the run, or start a new one in another --work-dir"


def refuse_own_split(path: Path) -> None:
    """Refuses ``--split`` on data that have a validation split, whose images would go unused.

    Args:
        path: The data.

    Raises:
        UserError: Always.
    """
    raise UserError(
        f"{path} has a validation split of its own: leave out --split to evaluate on that, or name "
        "the training part alone, to take a share of it."
    )


def settle_split(
    path: Path,
    names: Sequence[str],
    labels: Sequence[Collection[str]],
    share: float,
    seed: int | None = None,
    group_by: str | None = None,
    resume: bool = False,
    write: bool = True,
) -> tuple[list[str], list[str]]:
    """The split of a run: made and written down, or at its resume the one that was written.

    Args:
        path: The JSON file of the split: the names of both sides and what they were made of.
        names, labels, share, seed, group_by: As :func:`split_groups` takes them. A seed or pattern
            that is None is the written one at a resume, else 0 or none.
        resume: Whether the run goes on: a file that is there is used.
        write: Whether this process writes.

    Returns:
        As :func:`split_groups`.

    Raises:
        UserError: As :func:`split_groups`, and where a run is resumed with other flags or data.
    """
    made_of = {
        "share": share,
        "seed": seed,
        "group_by": group_by,
        "data": _fingerprint(names, labels),
    }
    if resume and path.is_file():
        written = read_json(path)
        _compare(path, written, {key: value for key, value in made_of.items() if value is not None})
        return written["train"], written["val"]
    made_of["seed"] = seed or 0
    train, val = split_groups(names, labels, share, made_of["seed"], group_by)
    if write:
        make_folder(path.parent)
        write_atomically(path, json.dumps(dict(**made_of, train=train, val=val), indent=1))
    return train, val


def flags_of(path: Path) -> dict[str, Any]:
    """The flags that a written split was made by, under the names of :data:`FLAGS`."""
    written = read_json(path)
    return {key: written.get(key) for key in FLAGS}


def _compare(path: Path, written: Mapping, made_of: Mapping) -> None:
    """Refuses to resume with another split than the run's."""
    for key, value in made_of.items():
        if written.get(key) == value:
            continue
        if key in FLAGS:
            raise UserError(
                f"{path} was made with {FLAGS[key]} {written.get(key)}, and this command says "
                f"{value}: {AGAIN}."
            )
        raise UserError(
            f"{path} divides other data: images or their classes were added, removed or renamed "
            f"since: {AGAIN}."
        )


def _fingerprint(names: Sequence[str], labels: Sequence[Collection[str]]) -> str:
    content = sorted((name, sorted(set(found))) for name, found in zip(names, labels, strict=True))
    return digest(json.dumps(content))
