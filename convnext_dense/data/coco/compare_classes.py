"""The classes of a training beside those of an annotation file, in both directions."""

import difflib
from collections.abc import Sequence

import numpy as np

from convnext_dense.data.coco.annotation_file import AnnotationSummary
from convnext_dense.errors import UserError

SHOWN = 5  # classes in a sentence
CHOOSE = "--cfg-options train_dataloader.dataset.metainfo.classes=NAME,NAME"


def check_known(classes: Sequence[str], summary: AnnotationSummary) -> None:
    """Refuses a class that the file does not have.

    Raises:
        UserError: Names the nearest one.
    """
    for name in classes:
        if name not in summary.classes:
            near = difflib.get_close_matches(name, summary.classes, n=1, cutoff=0)
            raise UserError(
                f"{summary.path} has no class {name!r}; the nearest name is {near[0]!r}. It has: "
                f"{', '.join(summary.classes)}. All annotation files need the same categories, "
                "also where one has no instance of a class."
            )


def check_order(classes: Sequence[str], summary: AnnotationSummary) -> None:
    """Refuses categories in another order: labels count them in the file's order.

    Raises:
        UserError: Names file and classes.
    """
    if tuple(name for name in summary.classes if name in classes) != tuple(classes):
        raise UserError(
            f"{summary.path} lists its categories in another order than the classes "
            f"{', '.join(classes)}: give all annotation files the same order."
        )


def check_unknown(
    classes: Sequence[str], summary: AnnotationSummary, reference: AnnotationSummary
) -> None:
    """Refuses annotations of a class that the file of the training does not have.

    Args:
        classes: The classes of the training, which nobody chose: they are those of ``reference``.
        summary: The other file.
        reference: The file that gave the classes.

    Raises:
        UserError: Names the classes, and how to train with or without them.
    """
    if others := annotations_of_others(classes, summary):
        raise UserError(
            f"{summary.path} has annotations of {_count(others)} that {reference.path} does not "
            f"have: {_some(others)}. They would be neither trained nor evaluated: add the "
            f"categories to {reference.path}, or leave them out on purpose with {CHOOSE}."
        )


def annotations_of_others(classes: Sequence[str], summary: AnnotationSummary) -> dict[str, int]:
    """The annotations of each class of a file that is not among ``classes``, where it has any."""
    counts = np.bincount(summary.instances.labels, minlength=len(summary.classes))
    return {
        name: int(count)
        for name, count in zip(summary.classes, counts, strict=True)
        if count and name not in classes
    }


def remark_others(classes: Sequence[str], summary: AnnotationSummary) -> list[str]:
    """A sentence where a file has annotations of classes that the training does not have."""
    if others := annotations_of_others(classes, summary):
        return [
            f"{summary.path}: annotations of {_count(others)} that the model does not have are "
            f"left out: {_some(others)}."
        ]
    return []


def _count(counts: dict[str, int]) -> str:
    return f"{len(counts)} class{'es' * (len(counts) > 1)}"


def _some(counts: dict[str, int]) -> str:
    shown = [f"{name} ({count:,})" for name, count in list(counts.items())[:SHOWN]]
    return ", ".join(shown) + (" ..." if len(counts) > SHOWN else "")
