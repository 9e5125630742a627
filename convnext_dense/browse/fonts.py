"""A font for class names in any script: matplotlib's own, else an installed one that has them.

matplotlib's DejaVu Sans knows most alphabets, but none of the scripts of East Asia.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

from convnext_dense.messages import say

OWN = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
PREFERRED = ("sans", "gothic", "hei", "ming", "song")  # in the name of an upright text font
ADVICE = "install one, such as Noto Sans CJK (Debian: fonts-noto-cjk)"


def font(size: int, text: str = "") -> ImageFont.FreeTypeFont:
    """A font of a height in pixels that has the characters of a text."""
    return _load(font_file(text), size)


def font_file(text: str) -> Path:
    """The font for a text: our own, else the first installed one that has all of it.

    Where no font has a character, one line says so, and our own draws a box in its place.
    """
    return _file_with(frozenset(character for character in text if not character.isspace()))


@contextmanager
def drawing_names(names: tuple[str, ...]) -> Iterator[None]:
    """Lets matplotlib draw names in a font that has them, whatever asks for ``sans-serif``."""
    file = font_file("".join(names))
    if file == OWN:
        yield
        return
    font_manager.fontManager.addfont(str(file))
    family = font_manager.FontProperties(fname=str(file)).get_name()
    families = [family, *matplotlib.rcParams["font.sans-serif"]]
    with matplotlib.rc_context({"font.sans-serif": families}):
        yield


@cache
def _load(file: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(file), size)


@cache
def _file_with(characters: frozenset[str]) -> Path:
    needed = frozenset(map(ord, characters))
    if needed <= _characters(OWN):
        return OWN
    for file in _installed():
        if needed <= _characters(file):
            return file
    return _best(needed)


def _best(needed: frozenset[int]) -> Path:
    """The font with most of the characters; says which it lacks."""
    file = max([OWN, *_installed()], key=lambda one: len(needed & _characters(one)))
    missing = "".join(map(chr, sorted(needed - _characters(file))))
    say(
        f"No installed font has the characters {missing[:20]}{' ...' if len(missing) > 20 else ''} "
        f"of the class names, which are drawn as boxes: {ADVICE}."
    )
    return file


@cache
def _installed() -> tuple[Path, ...]:
    """The machine's fonts, upright text fonts first."""
    files = map(Path, sorted(font_manager.findSystemFonts()))
    return tuple(sorted(files, key=lambda file: not any(w in file.name.lower() for w in PREFERRED)))


@cache
def _characters(file: Path) -> frozenset[int]:
    try:
        return frozenset(FT2Font(str(file)).get_charmap())
    except (RuntimeError, OSError):  # a format that it does not read, such as bitmaps
        return frozenset()
