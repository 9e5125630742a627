"""Which file an annotation tool means by a name that no file has."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from urllib.parse import unquote

from convnext_dense.data.coco.find_images import files_below, name_key
from convnext_dense.errors import UserError

QUERY = "?d="  # a path in an address, as Label Studio writes one


def find_files(
    source: str, folder: str, missing: Sequence[str], taken: Collection[str]
) -> dict[str, str]:
    """Files of names that are written otherwise: ``{name: file relative to the folder}``.

    A name may have backslashes, escapes of an address, other upper and lower case, more folders
    than the file has below ``folder``, or fewer. Folders that differ are no such case: ``a/1.jpg``
    is not ``b/1.jpg``.

    Args:
        source: The annotation file, for messages.
        folder: The folder of the images.
        missing: Names that no file has.
        taken: Files that other names mean already.

    Raises:
        UserError: For a name that several files fit, and for names that fit the same file.
    """
    index = _Index(folder)
    used = {os.path.normpath(name) for name in taken}
    found: dict[str, str] = {}
    names: dict[str, str] = {}
    for name in dict.fromkeys(missing):
        files = index.find(name)
        if len(files) > 1:
            raise UserError(
                f"{source} names {name}, which may be {files[0]} or {files[1]} in {folder}: write "
                "the names as the files have them, or name the nearest folder with --images."
            )
        whole = bool(files) and len(_parts(files[0])) == len(_parts(name))
        if not files or (files[0] in used and not whole):
            continue
        found[name] = files[0]
        if not whole and names.setdefault(files[0], name) != name:
            raise UserError(
                f"{source} names {names[files[0]]} and {name}, and for both there is only "
                f"{files[0]} in {folder}: name the folder that the names are relative to with "
                "--images."
            )
    return found


class _Index:
    """The files of a folder by the last part of their path, exactly and without case."""

    def __init__(self, folder: str) -> None:
        self.by_name: dict[bool, dict[str, list[str]]] = {
            exact: defaultdict(list) for exact in (True, False)
        }
        for file in files_below(folder):
            for exact, names in self.by_name.items():
                names[name_key(os.path.basename(file), exact)].append(file)

    def find(self, name: str) -> list[str]:
        """The files that fit a name best, by the first of its spellings that fits any."""
        for spelling in _spellings(name):
            for exact, names in self.by_name.items():
                parts = [name_key(part, exact) for part in _parts(spelling)]
                fitting = names.get(parts[-1], ()) if parts else ()
                if files := [file for file in fitting if _is_end(file, parts, exact)]:
                    return _longest(files, parts)
        return []


def _is_end(file: str, parts: list[str], exact: bool) -> bool:
    """Whether the folders of file and name agree, as far as both have some."""
    own = [name_key(part, exact) for part in _parts(file)]
    count = min(len(own), len(parts))
    return own[-count:] == parts[-count:]


def _longest(files: Sequence[str], parts: list[str]) -> list[str]:
    """Of the files that fit a name, those with most of its folders."""
    equal = {file: min(len(_parts(file)), len(parts)) for file in files}
    return [file for file in files if equal[file] == max(equal.values())]


def _spellings(name: str) -> Iterator[str]:
    """A name, and what it may be an address of."""
    yield name
    yield unquote(name)
    if QUERY in name:
        yield unquote(name.split(QUERY, 1)[1])
    yield unquote(name.split("?", 1)[0])


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
