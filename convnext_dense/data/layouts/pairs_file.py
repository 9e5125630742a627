"""The pairs of a split, written down: its images, their label images, the meaning of the labels."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convnext_dense.atomic_files import wait_for, write_once
from convnext_dense.data.layouts.layout import Meaning, Pair
from convnext_dense.data.text_files import read_json
from convnext_dense.errors import UserError

SHOWN = 5


@dataclass(frozen=True)
class PairsFile:
    """What a file of pairs says.

    Attributes:
        pairs: Image and label image, relative to the folder that the dataset names, or absolute.
        meaning: Of the labels.
    """

    pairs: list[tuple[str, str]]
    meaning: Meaning


def write_pairs(
    path: Path, root: Path, pairs: Sequence[Pair], meaning: Meaning, is_first: bool = True
) -> None:
    """Writes pairs, those below ``root`` relative to it; other processes wait until they are there.

    Args:
        path: The file.
        root: The folder that the dataset names.
        pairs: Images and label images.
        meaning: Of the labels.
        is_first: Whether this is the process that writes.
    """
    listed = sorted([_relative(file, root) for file in pair] for pair in pairs)
    content = dict(
        source=meaning.source,
        classes=meaning.classes,
        values=_rows(meaning.values),
        colours=_rows(meaning.colours),
        reduce_zero_label=meaning.reduce_zero_label,
    )
    rows = ",\n".join(json.dumps(pair, ensure_ascii=False) for pair in listed)
    text = json.dumps(content, ensure_ascii=False)[:-1] + f', "pairs": [\n{rows}\n]}}\n'
    (write_once if is_first else wait_for)(path, text)


def read_pairs(path: str | os.PathLike) -> PairsFile:
    """Reads what :func:`write_pairs` has written.

    Raises:
        UserError: For another file.
    """
    content = read_json(path)
    try:
        meaning = Meaning(
            classes=None if content["classes"] is None else tuple(content["classes"]),
            values=_mapping(content["values"]),
            colours=_mapping(content["colours"]),
            reduce_zero_label=content["reduce_zero_label"],
            source=content["source"],
        )
        return PairsFile([(image, label) for image, label in content["pairs"]], meaning)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is no file of pairs (image, label image), as a training makes one of own data."
        ) from error


def check_files(path: Path, root: Path) -> None:
    """Looks for the images and labels that a file of pairs names.

    Raises:
        UserError: Names some that are missing.
    """
    if not path.is_file():
        raise UserError(
            f"There is no file of pairs {path} (ann_file): give the data's flags again."
        )
    names = [name for pair in read_pairs(path).pairs for name in pair]
    there: dict[str, set[str]] = {}  # one listing a folder: look-ups take long on a network disk
    missing = []
    for name in names:
        folder, base = os.path.split(os.path.join(root, name))
        if folder not in there:
            there[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if base not in there[folder]:
            missing.append(name)
    if missing:
        raise UserError(
            f"{len(missing)} of {len(names)} files that {path} names are not in {root}: "
            f"{', '.join(missing[:SHOWN])}{' ...' if len(missing) > SHOWN else ''}: put them back, "
            "or give the data's flags again."
        )


def _relative(file: Path, root: Path) -> str:
    file = Path(os.path.abspath(file))
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()


def _rows(named: dict | None) -> list | None:
    return None if named is None else [[key, name] for key, name in named.items()]


def _mapping(rows: list | None) -> dict | None:
    if rows is None:
        return None
    return {tuple(key) if isinstance(key, list) else key: name for key, name in rows}
