"""Files that are either whole or absent, also after a kill, a power cut or on a full disk."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convnext_dense.errors import UserError

# What a write says where there is no room for it.
FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than is allowed here",
}
ROOM = "Make room and start again."
PATIENCE = 600  # seconds in which the first process writes what the others read


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file under a temporary name, flushes and renames it."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """Gives a temporary name to write to; afterwards its content is the file's, or nothing is left.

    The content is on the disk before the name is, and the name before this returns: a power cut
    leaves the old file or the new one.

    Args:
        path: The file.
        suffix: The ending of the temporary name, for libraries that choose a format by it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # some network file systems flush no folders
        _flush(path.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def explaining_full_disks(where: str, remedy: str) -> Iterator[None]:
    """Turns the error of a full disk into one sentence.

    Args:
        where: What was being written to.
        remedy: How to go on once there is room.

    Raises:
        UserError: In the place of that error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise UserError(
            f"{error.filename or where} cannot be written: {FULL[error.errno]}. {remedy}"
        ) from error


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


def write_once(path: Path, text: str) -> None:
    """Writes a file that is not there yet with this text; missing folders are created."""
    make_folder(path.parent)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    with explaining_full_disks(str(path), ROOM):
        write_atomically(path, text)


def wait_for(path: Path, text: str) -> None:
    """Waits until the first process has written a file; there is no process group yet.

    Raises:
        UserError: When it does not come.
    """
    end = time.monotonic() + PATIENCE
    while not (path.is_file() and path.read_text(encoding="utf-8") == text):
        if time.monotonic() > end:
            raise UserError(
                f"The first process has not written {path} in {PATIENCE} s: give all processes the "
                "same data and a --work-dir that all machines share."
            )
        time.sleep(0.2)
