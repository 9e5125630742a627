"""Ids: one form for each while a file is mended, and whole numbers at its end.

Tools write them as numbers, floats, texts with numbers in them, or names. What matters is that an
annotation's id is that of one image and one category.
"""

from collections import Counter
from collections.abc import Hashable
from typing import Any

from convnext_dense.data.coco.check_entries import LARGEST_ID
from convnext_dense.data.mending.draft import Draft, Row, row
from convnext_dense.data.mending.numbers import whole

REFERENCES = {"images": "image_id", "categories": "category_id"}
MOST_DANGLING = 0.5  # share of annotations without an image, from which another mistake is likely


def unify_ids(draft: Draft) -> list[Row]:
    """Gives equal ids one form: whole numbers wherever they are some, else the text."""
    found = []
    for kind, reference in REFERENCES.items():
        entries = getattr(draft, kind)
        for key, of in (("id", entries), (reference, draft.annotations)):
            wrong = [i for i, entry in enumerate(of) if _unified(entry.get(key)) is None]
            where = kind if key == "id" else "annotations"
            draft.refuse(where, wrong, f"no {key!r} that is a number or a text", "number them")
            for entry in of:
                unified = _unified(entry[key])
                if type(unified) is not type(entry[key]):
                    found.append(f"{key} {entry[key]!r} -> {unified}")
                entry[key] = unified
    return row("ids as texts or floats: they are whole numbers now", found)


def leave_out_dangling(draft: Draft) -> list[Row]:
    """Leaves out annotations of images that are not listed, where most have theirs."""
    known = {image["id"] for image in draft.images}
    lacking = [i for i, one in enumerate(draft.annotations) if one["image_id"] not in known]
    if len(lacking) > MOST_DANGLING * len(draft.annotations):
        draft.refuse(
            "annotations", lacking, "an image_id that no image has",
            "most of the file, so that the ids themselves seem wrong: write it anew",
        )  # fmt: skip
    found = [draft.annotations[i]["image_id"] for i in lacking]
    if lacking:
        draft.annotations = [one for one in draft.annotations if one["image_id"] in known]
    return row("annotations of images that are not listed: left out", found)


def number_anew(draft: Draft) -> list[Row]:
    """Numbers what still has ids that are no whole numbers of 64 bits, and doubled annotations."""
    rows = []
    for kind, reference in REFERENCES.items():
        entries = getattr(draft, kind)
        if all(_fits(entry["id"]) for entry in entries):
            continue
        numbered: dict[Hashable, int] = {}
        for entry in entries:
            numbered.setdefault(entry["id"], len(numbered) + 1)
        wrong = [i for i, one in enumerate(draft.annotations) if one[reference] not in numbered]
        draft.refuse(
            "annotations", wrong, f"a {reference} that none of the {kind} has", "remove them"
        )
        first = next(id_ for id_ in numbered if not _fits(id_))
        rows += [
            Row(f"ids of {kind}: numbered anew", len(entries), f"{first} -> {numbered[first]}")
        ]
        for entry in entries:
            entry["id"] = numbered[entry["id"]]
        for one in draft.annotations:
            one[reference] = numbered[one[reference]]
    return rows + _number_annotations(draft)


def _number_annotations(draft: Draft) -> list[Row]:
    """Nothing refers to an annotation's id, so that any distinct numbers will do."""
    ids = [one.get("id") for one in draft.annotations]
    counts = Counter(id_ for id_ in ids if _fits(id_))
    wrong = [id_ for id_ in ids if not _fits(id_) or counts[id_] > 1]
    if wrong:
        for place, one in enumerate(draft.annotations, 1):
            one["id"] = place
    return row("ids of annotations missing, doubled or no numbers: numbered anew", wrong)


def _unified(value: Any) -> int | str | None:
    number = whole(value)
    if number is not None:
        return number
    return value.strip() if isinstance(value, str) and value.strip() else None


def _fits(value: Any) -> bool:
    return type(value) is int and -LARGEST_ID <= value < LARGEST_ID
