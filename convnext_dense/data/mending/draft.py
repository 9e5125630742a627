"""A COCO file while it is mended, and what is said of each mending."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from convnext_dense.data.coco.findings import refuse
from convnext_dense.errors import UserError

KINDS = ("images", "annotations", "categories")
SHOWN = 60  # characters of an example


class Row(NamedTuple):
    """A line of the table: what was mended, how many entries, and one of them."""

    what: str
    count: int
    example: str


@dataclass
class Draft:
    """A COCO file in memory. Its entries are copies and may be changed; their lists may not.

    Attributes:
        source: The file, for messages.
        images, annotations, categories: Its entries.
        folder: The folder that image names are relative to; None where they are full paths.
        classes: Class names of the training data; None for these themselves.
    """

    source: str
    images: list[dict]
    annotations: list[dict]
    categories: list[dict]
    folder: Path | None = None
    classes: Sequence[str] | None = None

    def refuse(self, kind: str, wrong: Sequence[int], what: str, fix: str = "") -> None:
        """See :func:`convnext_dense.data.coco.findings.refuse`."""
        refuse(self.source, kind, getattr(self, kind), wrong, what, fix)

    def sizes(self) -> dict[Hashable, tuple[int, int]]:
        """(width, height) of each image by its id, of those whose size is known."""
        return {
            image["id"]: (image["width"], image["height"])
            for image in self.images
            if is_size(image.get("width")) and is_size(image.get("height"))
        }


def read_draft(
    content: Any, source: str, folder: Path | None, classes: Sequence[str] | None
) -> Draft:
    """A draft of a file's content.

    Raises:
        UserError: When it is not of COCO's form.
    """
    if not isinstance(content, dict):
        raise UserError(
            f"{source} is not a COCO file: it needs {', '.join(KINDS[:2])} and {KINDS[2]}."
        )
    if "annotations" not in content:  # the file of a test server
        known = [] if classes else None
        content = {"categories": known, **content, "annotations": []}
    for kind in KINDS:
        entries = content.get(kind)
        if not isinstance(entries, list):
            found = "missing" if entries is None else f"a {type(entries).__name__}"
            raise UserError(
                f"{source} is not a COCO file: it needs {', '.join(KINDS[:2])} and {KINDS[2]}, a "
                f"list each, and {kind} are {found}. Data of another kind: --train-data, and "
                "--data-format where it is not recognised."
            )
        strange = [i for i, entry in enumerate(entries) if not isinstance(entry, dict)]
        refuse(source, kind, entries, strange, "no fields in braces")
    copies = ([dict(entry) for entry in content[kind]] for kind in KINDS)
    return Draft(source, *copies, folder, classes)


def row(what: str, found: Sequence[Any]) -> list[Row]:
    """The line about some entries, of which the first is the example; none without any."""
    return [Row(what, len(found), shorten(found[0]))] if found else []


def shorten(example: Any) -> str:
    """An example, cut where it is long."""
    text = str(example)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."


def is_size(value: Any) -> bool:
    """Whether a width or height is one."""
    return type(value) is int and value > 0
