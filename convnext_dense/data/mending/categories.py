"""Categories: names, repeated ones, fillers of the first place, and the order of the training."""

from collections import Counter
from collections.abc import Sequence
from itertools import count

from convnext_dense.data.mending.draft import Draft, Row, row, shorten
from convnext_dense.errors import UserError

# Names of a class 0 that only keeps the number 0 free for the background.
FILLERS = ("none", "background", "_background_", "__background__", "bg", "n/a", "")
NO_PARENT = ("none", "")  # Roboflow's first category is the parent of all others and has none


def name_categories(draft: Draft) -> list[Row]:
    """Names as texts, where they are numbers."""
    found = []
    for category in draft.categories:
        name = category.get("name")
        if type(name) in (int, float):
            category["name"] = str(int(name) if name == int(name) else name)
            found.append(f"{name!r} -> {category['name']!r}")
    wrong = [i for i, one in enumerate(draft.categories) if not isinstance(one.get("name"), str)]
    draft.refuse("categories", wrong, "a name that is no text", "name the class")
    return row("class names as numbers: they are texts now", found)


def leave_out_fillers(draft: Draft) -> list[Row]:
    """Leaves out categories without an instance that are no class, by their name or their place."""
    counts = Counter(one["category_id"] for one in draft.annotations)
    fillers = [
        category
        for category in draft.categories
        if not counts[category["id"]]
        and category["name"] not in (draft.classes or ())
        and (category["name"].strip().lower() in FILLERS or _is_parent(category, draft.categories))
    ]
    if not fillers or len(fillers) == len(draft.categories):
        return []
    draft.categories = [one for one in draft.categories if one not in fillers]
    return row(
        "categories without an instance that only fill a place: left out",
        [f"{one['name']!r} ({one['id']})" for one in fillers],
    )


def join_categories(draft: Draft) -> list[Row]:
    """Makes one category of those of the same name.

    Raises:
        UserError: For one id with several names.
    """
    names: dict[object, str] = {}
    first: dict[str, object] = {}
    kept, repeated = [], []
    for category in draft.categories:
        id_, name = category["id"], category["name"]
        if names.setdefault(id_, name) != name:
            raise UserError(
                f"{draft.source} gives the category id {id_} to {names[id_]!r} and to {name!r}: "
                "which of them an annotation means would be a guess: give each an id of its own."
            )
        if name in first:
            repeated.append(f"{name!r}: {first[name]} and {id_}")
        else:
            first[name] = id_
            kept.append(category)
    if repeated:
        draft.categories = kept
        for one in draft.annotations:
            if one["category_id"] in names:
                one["category_id"] = first[names[one["category_id"]]]
    return row("categories listed twice: joined", repeated)


def order_as_trained(draft: Draft) -> list[Row]:
    """Brings the categories into the order of the training data, those without an instance too.

    Raises:
        UserError: For names that differ by upper and lower case, spaces, ``-`` and ``_`` alone.
    """
    classes = draft.classes or ()
    names = [category["name"] for category in draft.categories]
    if not names and not draft.annotations and classes:
        draft.categories = [{"id": n, "name": name} for n, name in enumerate(classes, 1)]
        return [Row("no categories: those of the training", len(classes), shorten(classes[0]))]
    _refuse_similar(draft, classes, names)
    if not set(classes) & set(names):
        return []  # other classes altogether: the check of the classes says so
    by_name = {category["name"]: category for category in draft.categories}
    others = [category for category in draft.categories if category["name"] not in classes]
    absent = [name for name in classes if name not in by_name]
    annotated = {one["category_id"] for one in draft.annotations}
    if absent and any(category["id"] in annotated for category in others):
        return []  # an unknown class with instances: the same
    wanted = [name for name in classes if name in by_name]
    found = [name for name in names if name in classes]
    moved = [name for name, other in zip(found, wanted, strict=True) if name != other]
    if moved or absent:
        used = {category["id"] for category in draft.categories}
        free = (number for number in count(1) if number not in used)
        by_name |= {name: {"id": next(free), "name": name} for name in absent}
        draft.categories = [by_name[name] for name in classes] + others
    return [
        *row("classes in another order: brought into that of the training", moved),
        *row("classes of the training that are not listed: added, without an instance", absent),
    ]


def _refuse_similar(draft: Draft, classes: Sequence[str], names: Sequence[str]) -> None:
    known = {_plain(name): name for name in classes}
    for name in names:
        similar = known.get(_plain(name), name)
        if name not in classes and similar != name and similar not in names:
            raise UserError(
                f"{draft.source} has a class {name!r}, and the training data {similar!r}: whether "
                "they are the same would be a guess: write the name alike in both."
            )


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character not in " _-")


def _is_parent(category: dict, categories: Sequence[dict]) -> bool:
    """Whether all other categories name this one as their parent, which has none itself."""
    others = [one for one in categories if one is not category]
    parent = str(category.get("supercategory") or "").strip().lower()
    return (
        bool(others)
        and parent in NO_PARENT
        and all(one.get("supercategory") == category["name"] for one in others)
    )
