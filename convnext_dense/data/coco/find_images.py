"""Are the images of a COCO file in their folder, and if not: under which other name are they?"""

import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import unquote

from convnext_dense.errors import UserError

SHOWN = 5  # names in a message
INDEXED = 500_000  # files of the folder and below it that are compared with the missing ones


def check_images_exist(path: str, folder: str, names: Sequence[str]) -> None:
    """Looks for the images of a COCO file.

    Args:
        path: The COCO file, for the message.
        folder: Where the images should be.
        names: The images, as the file names them.

    Raises:
        UserError: Names some that are missing, and the change of name that finds them.
    """
    missing = missing_images(folder, names)
    if missing:
        shown = ", ".join(missing[:SHOWN]) + (" ..." if len(missing) > SHOWN else "")
        raise UserError(
            f"{len(missing)} of {len(names)} images of {path} are not in {folder}: {shown}"
            f"{_explain(folder, missing)}."
        )


def missing_images(folder: str, names: Sequence[str]) -> list[str]:
    """The names that no file has, relative to a folder."""
    listings = {}  # one listing a folder: 118,000 look-ups take minutes on a network disk
    missing = []
    for name in names:
        parent, base = os.path.split(os.path.join(folder, name))
        if parent not in listings:
            listings[parent] = (
                set(os.listdir(parent or ".")) if os.path.isdir(parent or ".") else set()
            )
        if base not in listings[parent]:
            missing.append(name)
    return missing


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _relative(name: str) -> str:
    """Without the folders that only another machine has: the last part."""
    return _slashes(name).rstrip("/").rsplit("/", 1)[-1]


def _without_query(name: str) -> str:
    return unquote(name.split("?", 1)[0])


# What is tried, the smallest change first: (words for it, how a name is changed, whether upper and
# lower case are told apart, whether it may lie in a sub-folder).
Change = tuple[str, Callable[[str], str], bool, bool]
CHANGES: tuple[Change, ...] = (
    ("with / instead of \\", _slashes, True, False),
    ("with %20 and the like unescaped", unquote, True, False),
    ("in other upper and lower case", str, False, False),
    ("by the last part of their path", _relative, True, False),
    ("by name in a sub-folder", _relative, True, True),
    ("by the last part of their path, unescaped", lambda n: _relative(_without_query(n)), True,
     False),
    ("by the last part of their path, in other upper and lower case", _relative, False, False),
    ("by name in a sub-folder, unescaped and in other upper and lower case",
     lambda n: _relative(_without_query(n)), False, True),
)  # fmt: skip


def _explain(folder: str, missing: list[str]) -> str:
    """The change of name that finds most of the missing images, with an example."""
    files = list(files_below(folder))
    best, count, example = None, 0, ("", "")
    for change in CHANGES:
        found = _find(missing, files, change)
        if len(found) > count:  # the smallest change, where several find as many
            best, count, example = change[0], len(found), next(iter(found.items()))
    if best is None:
        return "" if files else "; that folder holds no file: name the right one with --images"
    those = "they are all" if count == len(missing) else f"{count} of them are"
    name, file = example
    return (
        f"; {those} there {best} ({file!r} for {name!r}): write the names into the json as the "
        "files have them, or name the folder that they are relative to with --images"
    )


def _find(missing: list[str], files: list[str], change: Change) -> dict[str, str]:
    """The missing names that a change finds, each with its file below the folder."""
    _, changed, exact, below = change
    known: dict[str, str] = {}
    for file in files:
        known.setdefault(name_key(os.path.basename(file) if below else file, exact), file)
    keys = {name: name_key(os.path.normpath(changed(name)), exact) for name in missing}
    return {name: known[key] for name, key in keys.items() if key in known}


def name_key(name: str, exact: bool) -> str:
    """A name as it is compared with others, exactly or without upper and lower case.

    Accents are composed: macOS writes them as two characters, others as one.
    """
    name = unicodedata.normalize("NFC", name)
    return name if exact else name.casefold()


def files_below(folder: str) -> Iterator[str]:
    """Files in a folder and below it, relative to it; the first of very many."""
    left = INDEXED
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names)[:left]:
            yield os.path.relpath(os.path.join(parent, name), folder)
        left -= len(names)
        if left <= 0:
            return
