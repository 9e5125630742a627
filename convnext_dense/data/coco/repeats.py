"""What a COCO file holds twice, and its crowds: both can be trained on, and both mislead."""

import posixpath
from collections import Counter

import numpy as np

from convnext_dense.data.coco.findings import note


def note_repeats(path: str, images: list[dict], annotations: list[dict]) -> list[str]:
    """Lines about images listed twice, annotations repeated, and crowds.

    Args:
        path: The COCO file.
        images, annotations: Its entries, their fields checked.
    """
    crowds = np.flatnonzero([bool(a.get("iscrowd")) for a in annotations])
    return [
        *note_doubled(path, images, annotations),
        *note(
            path, annotations, crowds,
            "iscrowd = 1: nothing is trained on them, and they count in no figure",
        ),
    ]  # fmt: skip


def note_doubled(path: str, images: list[dict], annotations: list[dict]) -> list[str]:
    """Lines about images listed twice and annotations repeated.

    Args:
        path: The COCO file.
        images, annotations: Its entries, their fields checked.
    """
    named = Counter(posixpath.normpath(image["file_name"]) for image in images)
    twice = [name for name, count in named.items() if count > 1]
    lines = []
    if twice:
        lines.append(
            f"{path}: {len(twice)} of {len(named)} files are listed as several images, such as "
            f"{twice[0]}: each entry is trained and evaluated with its own annotations alone."
        )
    return [
        *lines,
        *note(
            path, annotations, _repeated(annotations),
            "the image, the class and the box of an earlier one: each is counted",
        ),
    ]  # fmt: skip


def _repeated(annotations: list[dict]) -> list[int]:
    """Indices of annotations whose image, class and box an earlier one has."""
    seen, repeated = set(), []
    for index, one in enumerate(annotations):
        key = (one["image_id"], one["category_id"], *one["bbox"])
        if key in seen:
            repeated.append(index)
        seen.add(key)
    return repeated
