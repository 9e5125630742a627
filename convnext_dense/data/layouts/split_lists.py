"""Lists of the images of a split: names with or without ending, sub-folders, or pairs on a line."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from convnext_dense.data.images import IMAGE_SUFFIXES
from convnext_dense.data.layouts.layout import Pair
from convnext_dense.data.text_files import read_text
from convnext_dense.errors import UserError

SHOWN = 5


def read_list(file: Path) -> list[str]:
    """The lines of a list, empty ones and comments (``#``) left out.

    Raises:
        UserError: For a file that names nothing, or a line twice.
    """
    lines = [line.strip() for line in read_text(file).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise UserError(f"{file} names no image: it needs one name a line.")
    if len(set(lines)) < len(lines):
        doubled = next(line for line in lines if lines.count(line) > 1)
        raise UserError(f"{file} names {doubled!r} twice: leave one line out.")
    return lines


def choose(pairs: Sequence[Pair], lines: Sequence[str], file: Path) -> list[Pair]:
    """The pairs that a list names.

    A line is the name of an image, with or without its folders and its ending, or ``image label``;
    a label on the line is used in the place of the one that was found.

    Raises:
        UserError: For a name of no image, or of several.
    """
    known = _names(pairs)
    chosen, missing = [], []
    for line in lines:
        name, label = _cut(line)
        found = known.get(_key(name)) or ()
        if len(found) > 1:
            raise UserError(
                f"{file} names {line!r}, which may be {' or '.join(str(p[0]) for p in found[:2])}: "
                "write its folder too."
            )
        if not found:
            missing.append(line)
        else:
            image, own = found[0]
            chosen.append((image, _label(label, own, pairs, file) if label else own))
    if missing:
        where = pairs[0][0].parent if pairs else "the data"
        raise UserError(
            f"{len(missing)} of {len(lines)} lines of {file} name no labelled image, such as those "
            f"of {where} ({pairs[0][0].name if pairs else 'none'}): {', '.join(missing[:SHOWN])}"
            f"{' ...' if len(missing) > SHOWN else ''}: correct the list or the folders."
        )
    return chosen


def _names(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """The pairs by each way of writing an image: its name after any of its folders, no ending."""
    known: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        parts = pair[0].with_suffix("").parts
        for first in range(len(parts)):
            known["/".join(parts[first:]).lstrip("/")].append(pair)
    return known


def _key(name: str) -> str:
    """A name as :func:`_names` writes it."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.suffix.lower() in IMAGE_SUFFIXES:
        path = path.with_suffix("")
    return "/".join(part for part in path.parts if part not in (".", "/"))


def _cut(line: str) -> tuple[str, str | None]:
    """Image and label of a line; names may hold spaces where the label is not named."""
    for mark in ("\t", ",", ";", " "):
        parts = [part.strip() for part in line.split(mark) if part.strip()]
        endings = [PurePosixPath(part).suffix.lower() in IMAGE_SUFFIXES for part in parts]
        if len(parts) == 2 and all(endings):
            return parts[0], parts[1]
    return line, None


def _label(name: str, own: Path, pairs: Sequence[Pair], file: Path) -> Path:
    """The label that a line names: relative to the list, or one of those that were found."""
    if (file.parent / name).is_file():
        return file.parent / name
    ending = "/" + name.replace("\\", "/").lstrip("./")
    found = [label for _, label in pairs if str(label).endswith(ending)]
    if own in found or len(found) == 1:
        return own if own in found else found[0]
    raise UserError(
        f"{file} names the label {name}, which is not beside the list and not among the labels of "
        "the data: correct its path."
    )
