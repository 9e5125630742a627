"""What images of one class each call it, and the classes that are meant."""

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from convnext_dense.data.class_folders.layouts import Labelled
from convnext_dense.errors import UserError

NAMED = (
    "--classes FILE names the classes, one a line; images then belong to the one that a folder of "
    "theirs is called by"
)


def name_labels(images: Sequence[Labelled], classes: Sequence[str], source: Path) -> list[Labelled]:
    """The images with labels among those of ``--classes``.

    A label is a class, the path of folders one of which is called as one, or, where all are
    numbers, its place, counted from 0.

    Raises:
        UserError: For a label that is none of these, and a class without an image.
    """
    known, labels = set(classes), {image.label for image in images}
    numbered = not labels & known and all(label.isdecimal() for label in labels)
    by_number = {str(number): name for number, name in enumerate(classes)} if numbered else {}
    renamed = {}
    for label in sorted(labels):
        parts = {label} & known or {*label.split("/")} & known or {by_number.get(label)} & known
        if len(parts) != 1:
            raise UserError(
                f"{source} has images of the class {label!r}, which --classes does not name "
                f"{_nearest(label, classes)}: add it there, or remove the images."
            )
        (renamed[label],) = parts
    return [Labelled(path, renamed[label]) for path, label in images]


def refuse_lacking(images: Sequence[Labelled], classes: Sequence[str], source: Path) -> None:
    """Refuses training data without an image of some classes of ``--classes``.

    Raises:
        UserError: Names the first one.
    """
    labels = {image.label for image in images}
    if lacking := [name for name in classes if name not in labels]:
        raise UserError(
            f"{source} has no image of {len(lacking)} of the {len(classes)} classes of --classes, "
            f"such as {lacking[0]!r}: the head would have outputs that nothing trains. Add images, "
            "or take the names out of the file."
        )


def match_labels(
    images: Sequence[Labelled], classes: Collection[str], source: Path
) -> tuple[list[Labelled], dict[str, str]]:
    """Validation images with labels of the training data.

    Where that has ``animals/ant`` and no other ``ant``, a list may say ``ant``.

    Args:
        images: Those of the validation data.
        classes: The labels of the training data.
        source: The validation data, or its list.

    Returns:
        The images, and what was taken as what.

    Raises:
        UserError: For a label that is not trained, or stands for several ones.
    """
    renamed = {}
    for label in sorted({image.label for image in images} - set(classes)):
        ends = [name for name in classes if name.endswith(f"/{label}")]
        if len(ends) != 1:
            raise UserError(f"{source}: {_unknown(label, sorted(classes), sorted(ends))}")
        (renamed[label],) = ends
    return [Labelled(path, renamed.get(label, label)) for path, label in images], renamed


def remark_equal_folders(labels: Iterable[str]) -> str:
    """A sentence on classes of several folders that have one name; empty where there are none."""
    by_leaf = defaultdict(list)
    for label in sorted(set(labels)):
        by_leaf[label.rpartition("/")[2]].append(label)
    several = {leaf: names for leaf, names in by_leaf.items() if len(names) > 1}
    if not several:
        return ""
    leaf, (one, other, *_) = next(iter(several.items()))
    more = f" (and {len(several) - 1} more names of this kind)" if len(several) > 1 else ""
    return (
        f"the folders {one} and {other} are two classes, though both are called {leaf}{more}. If "
        f"they are one class: {NAMED}."
    )


def _unknown(label: str, classes: Sequence[str], ends: Sequence[str]) -> str:
    if ends:
        return (
            f"the class {label!r} may be {' or '.join(ends)} of the training data: write the whole "
            f"name, or, where these are one class: {NAMED}."
        )
    if label.isdecimal() and not any(name.isdecimal() for name in classes):
        return (
            f"the classes are numbers, such as {label}, and those of the training data names, such "
            f"as {classes[0]!r}: give the names in the order of the numbers with --classes FILE, "
            "one a line."
        )
    return (
        f"the class {label!r} is none of the {len(classes)} of the training data "
        f"{_nearest(label, classes)}: correct it or remove the images. Where folders have other "
        f"parents: {NAMED}."
    )


def _nearest(label: str, classes: Sequence[str]) -> str:
    return f"(the nearest is {difflib.get_close_matches(label, classes, n=1, cutoff=0)[0]!r})"
