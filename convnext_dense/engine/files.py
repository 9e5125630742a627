"""Files that are either whole or absent."""

import os
from pathlib import Path

from convnext_dense.errors import UserError


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file under a temporary name and renames it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def make_folder(path: Path) -> None:
    """Makes a folder for results.

    Raises:
        UserError: When it cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder {path} cannot be made: {error.strerror}.") from error
    if not os.access(path, os.W_OK):
        raise UserError(f"The folder {path} cannot be written to.")


def keep_previous(path: Path) -> Path | None:
    """Renames an existing file to the first free ``name.N.suffix``; returns the new name."""
    if not path.exists():
        return None
    number = 1
    while (kept := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    path.rename(kept)
    return kept
