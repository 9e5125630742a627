"""Texts of users: one reader for the checks, the training and the evaluation.

UTF-8 is read, with or without the byte order mark that Windows' editors write. Another encoding is
named, because a file in UTF-16 is no damaged one.
"""

import codecs
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from convnext_dense.errors import UserError
from convnext_dense.runs.noise import quiet_annotation_files

ENCODING = "utf-8-sig"
# UTF-32 first: its mark begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
WIDE = ("utf-16", "utf-32")
AROUND = 20  # bytes that are shown before what is no UTF-8


def read_text(path: str | os.PathLike) -> str:
    """The text of a file in UTF-8, without its byte order mark.

    Raises:
        UserError: When the file cannot be read, or is in another encoding.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    if wide := _wide_encoding(content):
        raise UserError(
            f"{path} is a text in {wide}, and such files are read as UTF-8: save it as UTF-8 "
            f"(iconv -f {wide} -t UTF-8)."
        )
    try:
        return content.decode(ENCODING)
    except UnicodeDecodeError as error:
        before = content[max(0, error.start - AROUND) : error.start].decode("ascii", "replace")
        raise UserError(
            f"{path} is not UTF-8 text: byte {error.start:,} is {content[error.start]:#04x}, after "
            f"{before!r}: save it as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8, or whatever it was "
            "written in), or copy it again where it is damaged."
        ) from error


def read_json(path: str | os.PathLike) -> Any:
    """The content of a JSON file, read as :func:`read_text` does.

    Raises:
        UserError: When the file cannot be read, is in another encoding, or is not complete JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        first = text.split("\n", 1)[0].strip()
        if first and first[0] not in "{[":
            raise UserError(
                f"{path} is no JSON: its first line is {first[:60]!r}. An annotation file in "
                "COCO's format is needed here; a list of names does not take its place."
            ) from error
        raise UserError(
            f"{path} is not complete JSON ({error}): copy or download it again."
        ) from error


@contextmanager
def opening_annotation_files() -> Iterator[None]:
    """Lets pycocotools read files as :func:`read_text` does, and print nothing about it.

    It opens a file in the machine's own encoding, and ends with a traceback at a byte order mark.
    """
    with quiet_annotation_files():
        try:
            from pycocotools import coco as module
        except ImportError:  # a part of the extra `detection`: without it no such file is opened
            yield
            return
        if "open" in vars(module):  # replaced already
            yield
            return
        module.open = partial(open, encoding=ENCODING)
        try:
            yield
        finally:
            del module.open


def _wide_encoding(content: bytes) -> str | None:
    """UTF-16 or UTF-32 where a text begins as one; zeros between ASCII letters tell it too."""
    for mark, name in MARKS.items():
        if content.startswith(mark):
            return name
    guess = json.detect_encoding(content[:4]) if len(content) >= 4 else ""
    return guess[:6].upper() if guess.startswith(WIDE) else None
