"""Class names in any script: drawn with a font that has them, or said."""

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from convnext_dense.browse import drawing, fonts

CJK = "猫と고양이"


def write_font(path, characters: str) -> None:
    """A font whose characters are full squares, larger than DejaVu's box of a missing one."""
    pen = TTGlyphPen(None)
    for place in ((0, 0), (0, 900), (900, 900), (900, 0)):
        (pen.lineTo if place != (0, 0) else pen.moveTo)(place)
    pen.closePath()
    square, empty = pen.glyph(), TTGlyphPen(None).glyph()
    names = [".notdef", *(f"u{ord(character):x}" for character in characters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({int(name[1:], 16): name for name in names[1:]})
    builder.setupGlyf({name: square if name != ".notdef" else empty for name in names})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable(dict(familyName=path.stem, styleName="Regular"))
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Makes a machine that has these fonts, by the name of their files."""

    def install(**characters: str):
        files = []
        for name, text in characters.items():
            files.append(tmp_path / f"{name}.ttf")
            write_font(files[-1], text)
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: list(map(str, files)))
        for cached in (fonts._file_with, fonts._installed, fonts._characters):
            cached.cache_clear()
        return files

    said = []
    monkeypatch.setattr(fonts, "say", said.append)
    yield install, said
    for cached in (fonts._file_with, fonts._installed, fonts._characters):
        cached.cache_clear()


def test_alphabets_have_our_own_font(installed):
    install, said = installed
    install()
    assert fonts.font_file("Käse кот γάτα a b") == fonts.OWN and said == []


def test_a_font_with_all_characters_is_found(installed):
    install, said = installed
    _, whole = install(aSans="猫", whole=CJK + "Katze ")
    assert fonts.font_file(f"Katze {CJK}") == whole and said == []
    assert fonts.font_file("Katze") == fonts.OWN


def test_text_fonts_come_first(installed):
    install, _ = installed
    _, sans = install(decorated=CJK, zSans=CJK)
    assert fonts.font_file(CJK) == sans


def test_what_no_font_has_is_said_once(installed):
    install, said = installed
    install(part="猫")
    fonts.font_file(CJK)
    fonts.font_file(CJK)
    (line,) = said
    assert "No installed font has the characters と고양이 of the class names" in line
    assert "Noto Sans CJK" in line and "\n" not in line


def test_names_are_drawn_with_it(installed):
    """A square of the plate's height for each character, where our own font draws thin boxes."""
    install, _ = installed

    def ink() -> int:
        image = Image.new("RGB", (200, 60))
        drawing.write_name(ImageDraw.Draw(image), (5, 50), "猫猫", (255, 255, 0), 30)
        return int((np.asarray(image) == 0).all(-1)[20:45, 8:60].sum())

    install()
    thin = ink()
    install(square="猫")
    assert ink() > 2 * thin


def test_charts_take_it_too(installed):
    install, _ = installed
    install(squares=CJK + "cat ")
    with fonts.drawing_names(("cat", "猫")):
        text = Figure().text(0, 0, "猫")
        assert font_manager.findfont(text.get_fontproperties()).endswith("squares.ttf")
    assert font_manager.findfont(Figure().text(0, 0, "a").get_fontproperties()) == str(fonts.OWN)
