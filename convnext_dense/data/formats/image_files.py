"""Images that annotation files name: where they lie on this machine."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from convnext_dense.data.images import IMAGE_SUFFIXES
from convnext_dense.errors import UserError

SHOWN = 5  # names in a message


def list_images(folder: Path) -> list[Path]:
    """The images of a folder and below it, hidden ones left out, sorted."""
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(parent, name)
            for name in sorted(names)
            if not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)
        ]
    return found


class ImageIndex:
    """Finds images by the names that annotation files have for them.

    A name may have folders of another machine, backslashes, or no ending. The file with the most
    equal last parts of its path is taken.

    Args:
        folders: Where to look, and below.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = tuple(dict.fromkeys(folders))
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        found = (path for folder in self.folders for path in list_images(folder))
        self.images = list(dict.fromkeys(found))
        for path in self.images:
            self._by_name[_key(path.name)].append(path)
            self._by_stem[_key(path.stem)].append(path)

    def find(self, name: str) -> Path | None:
        """The file of a name; None where there is none.

        Raises:
            UserError: When several fit equally well.
        """
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts:
            return None
        found = self._by_name.get(_key(parts[-1]))
        if not found:
            known = parts[-1].lower().endswith(IMAGE_SUFFIXES)
            found = [] if known else self._by_stem.get(_key(parts[-1]), [])
        if not found:
            return None
        equal = {path: _equal_parts(path, parts) for path in found}
        best = [path for path in found if equal[path] == max(equal.values())]
        best = self._in_nearest_folder(best)
        if len(best) > 1:
            raise UserError(
                f"{name} may be {best[0]} or {best[1]}: name the folder of the images with "
                "--images."
            )
        return best[0]

    def _in_nearest_folder(self, paths: list[Path]) -> list[Path]:
        """Those directly in the first of the folders that has any; else all."""
        for folder in self.folders:
            if here := [path for path in paths if path.parent == folder]:
                return here
        return paths


def refuse_missing(
    missing: Sequence[str], total: int, source: Path, folders: Sequence[Path]
) -> None:
    """Raises where images are missing.

    Raises:
        UserError: Names some, where they were looked for, and ``--images``.
    """
    if missing:
        shown = ", ".join(missing[:SHOWN]) + (" ..." if len(missing) > SHOWN else "")
        looked = ", ".join(map(str, folders))
        raise UserError(
            f"{len(missing)} of {total} images that {source} names are not in or below {looked}: "
            f"{shown}: name the folder of the images with --images."
        )


def _equal_parts(path: Path, parts: list[str]) -> int:
    """How many of the folders at the end are the same."""
    count = 0
    for mine, other in zip(reversed(path.parent.parts), reversed(parts[:-1]), strict=False):
        if _key(mine) != _key(other):
            break
        count += 1
    return count


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
