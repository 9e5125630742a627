"""Drawing with names in any script: captions, legends, a contact sheet."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from convnext_dense.browse.fonts import font

MARGIN = 6
PAPER, INK = (255, 255, 255), (30, 30, 30)
CELL = (440, 330)  # width, height of an image on the sheet
SMALLEST = 512  # longest side in pixels from which an image is not enlarged


def enlarge(image: np.ndarray) -> int:
    """The whole factor by which a small image is enlarged, so that names can be read."""
    return max(1, -(-SMALLEST // max(image.shape[:2])))


def write_name(
    draw: ImageDraw.ImageDraw, place: Sequence[float], name: str, colour: Sequence[int], size: int
) -> None:
    """Writes a name on a plate of its class's colour, above the corner ``place``."""
    letters = font(size, name)
    width = draw.textlength(name, font=letters) + 5
    left, top = place[0], max(0, place[1] - size - 3)
    left = max(0, min(left, draw.im.size[0] - width))  # whole at the right border too
    draw.rectangle([left, top, left + width, top + size + 3], fill=tuple(map(int, colour)))
    ink = (0, 0, 0) if np.dot(colour, (0.299, 0.587, 0.114)) > 140 else (255, 255, 255)
    draw.text((left + 3, top), name, fill=ink, font=letters)


def legend(
    names: list[str], colours: np.ndarray, width: int, height: int = 20
) -> Image.Image | None:
    """Swatches with names in as many rows as they need; None without names."""
    if not names:
        return None
    boxes, left, row = [], MARGIN, 0
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    for name in names:
        wide = height + 4 + measure.textlength(name, font=font(13, name)) + 3 * MARGIN
        if left + wide > width and left > MARGIN:
            left, row = MARGIN, row + 1
        boxes.append((left, row * (height + 4) + MARGIN))
        left += wide
    strip = Image.new("RGB", (width, (row + 1) * (height + 4) + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(strip)
    for (left, top), name, colour in zip(boxes, names, colours, strict=True):
        fill = tuple(map(int, colour))
        draw.rectangle([left, top + 2, left + height - 4, top + height - 2], fill=fill, outline=INK)
        draw.text((left + height + 2, top + 1), name, fill=INK, font=font(13, name))
    return strip


def page(images: list[Image.Image], caption: str, below: Image.Image | None) -> Image.Image:
    """Images side by side with a caption above and a legend below."""
    width = sum(image.width for image in images) + MARGIN * (len(images) + 1)
    height = max(image.height for image in images) + 24 + 2 * MARGIN
    sheet = Image.new("RGB", (width, height + (below.height if below else 0)), PAPER)
    ImageDraw.Draw(sheet).text((MARGIN, MARGIN), caption, fill=INK, font=font(13, caption))
    left = MARGIN
    for image in images:
        sheet.paste(image, (left, 24 + MARGIN))
        left += image.width + MARGIN
    if below:
        sheet.paste(below, (0, height))
    return sheet


def contact_sheet(
    images: list[Image.Image], captions: list[str], names: list[str], colours: np.ndarray
) -> Image.Image:
    """All images in a grid, each in a cell of its own, and the legend of the classes."""
    columns = min(len(images), max(1, round(len(images) ** 0.5)))
    rows = -(-len(images) // columns)
    wide, high = CELL[0] + MARGIN, CELL[1] + 20 + MARGIN
    width, height = columns * wide + MARGIN, rows * high + MARGIN
    below = legend(names, colours, width)
    sheet = Image.new("RGB", (width, height + (below.height if below else 0)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        scale = min(CELL[0] / image.width, CELL[1] / image.height)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        small = image.resize(size, Image.Resampling.LANCZOS)
        left, top = MARGIN + number % columns * wide, MARGIN + number // columns * high
        draw.text((left, top), caption, fill=INK, font=font(12, caption))
        sheet.paste(small, (left + (CELL[0] - small.width) // 2, top + 20))
    if below:
        sheet.paste(below, (0, height))
    return sheet
