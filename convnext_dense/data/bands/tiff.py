"""TIFF files as they are: every band, in the file's own type.

OpenCV and Pillow each read a part of them, and some of it wrongly without a word: OpenCV gives one
band of two, the first page of eight, and darkens colours by transparency; Pillow gives 8 bits of 16
where there are three bands. The tags say which reader is right.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from convnext_dense.errors import UserError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
# Tags, by their number (TIFF 6.0).
SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
STRIPS, ORIENTATION, SAMPLES, STRIP_BYTES, PLANAR = 273, 274, 277, 279, 284
PREDICTOR, TILES, EXTRA, FORMAT = 317, 322, 338, 339
RANGES = ((280, 281), (340, 341))  # least and largest value, of integers and of any type
THUMBNAIL, UNCOMPRESSED, SEPARATE = 1, 1, 2
GREY = (0, 1)  # photometric: white or black is zero
COLOURS = (*GREY, 2)  # and RGB; the others (palette, CMYK, YCbCr, Lab) become RGB of 8 bits
TRANSPARENCY = (1, 2)  # extra samples
KINDS = {1: "u", 2: "i", 3: "f"}  # sample format


@dataclass(frozen=True)
class Tags:
    """What the first page of a TIFF says of itself.

    Attributes:
        first: Its tags.
        pages: How many pages of its size follow each other, itself included.
        byte_order: ``<`` or ``>``.
    """

    first: Any
    pages: int
    byte_order: str

    def number(self, tag: int, default: int) -> int:
        """The value of a tag; of several values, the first."""
        value = self.first.get(tag, default)
        return int(value[0] if isinstance(value, tuple) else value)

    @property
    def samples(self) -> int:
        """Bands of a page."""
        return self.number(SAMPLES, 1)

    @property
    def is_plain(self) -> bool:
        """Whether OpenCV's colours of 8 bits are all that is in it."""
        usual = self.samples in (1, 3) and self.pages == 1
        return self.number(PHOTOMETRIC, 1) not in COLOURS or (
            usual and self.number(BITS, 1) <= 8 and self.number(FORMAT, 1) == 1
        )

    @property
    def ends_in_transparency(self) -> bool:
        """Whether the last band is tagged as transparency."""
        return self.number(EXTRA, 0) in TRANSPARENCY and self.samples in (2, 4)

    @property
    def declared(self) -> tuple[float, float] | None:
        """The range of values that the file declares; None where it does not."""
        for low, high in RANGES:
            if high in self.first:
                return float(self.number(low, 0)), float(self.number(high, 0))
        return None


def read_tags(content: bytes, name: str) -> Tags | None:
    """The tags of a TIFF; None for another file, or one whose header is broken.

    Raises:
        UserError: For a TIFF where Pillow, which reads them, is not installed.
    """
    if content[:4] not in MAGIC:
        return None
    try:  # JPEG and PNG are read without Pillow
        from PIL.TiffImagePlugin import ImageFileDirectory_v2 as TagFolder
    except ImportError as error:
        raise UserError(f"{name} is a TIFF, which needs a package: pip install pillow.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the decoders refuse
            pages = _read_pages(content, TagFolder)
    except Exception:  # whatever a broken header makes of it: the decoders say so
        return None
    if not pages:
        return None
    size = (pages[0].get(WIDTH), pages[0].get(HEIGHT), pages[0].get(SAMPLES, 1))
    same = [p for p in pages if (p.get(WIDTH), p.get(HEIGHT), p.get(SAMPLES, 1)) == size]
    full = [p for p in same if not int(p.get(SUBFILE, 0)) & THUMBNAIL]
    return Tags(pages[0], max(1, len(full)), "<" if content[:2] == b"II" else ">")


def _read_pages(content: bytes, tag_folder: type) -> list[Any]:
    """The tags of all pages, thumbnails included."""
    header = content[: 16 if b"+" in content[2:4] else 8]
    pages, seen, offset = [], set(), tag_folder(header).next
    stream = io.BytesIO(content)
    while offset:
        if offset in seen:
            raise ValueError("the pages of a broken file lead in a circle")
        seen.add(offset)
        stream.seek(offset)
        page = tag_folder(header)
        page.load(stream)
        pages.append(page)
        offset = page.next
    return pages


def decode_tiff(content: bytes, tags: Tags, name: str) -> np.ndarray:
    """All bands of a TIFF (height, width, bands) in their own type; colours are red, green, blue.

    Pages of one band each are the bands of one image, as microscopes write them.

    Raises:
        UserError: For pages of several bands, and bands that only the package tifffile reads.
    """
    orientation = tags.number(ORIENTATION, 1)
    if tags.pages > 1:
        pixels = _decode_pages(content, tags, name)
    elif tags.samples == 4 and tags.number(BITS, 1) == 8 and tags.ends_in_transparency:
        pixels = turn(_decode_rgba(content), orientation)  # OpenCV darkens its colours
    elif tags.samples in (1, 3, 4):
        pixels = _decode_by_opencv(content)  # which turns a TIFF by itself
    else:
        pixels = turn(_decode_bands(content, tags, name), orientation)
    if pixels is None:
        raise UserError(f"{name} cannot be read as an image: it is cut off or of an unknown kind.")
    return np.ascontiguousarray(pixels)


def turn(pixels: np.ndarray | None, orientation: int) -> np.ndarray | None:
    """An image turned and mirrored as its EXIF entry (1 to 8) says."""
    if pixels is None:
        return None
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _decode_pages(content: bytes, tags: Tags, name: str) -> np.ndarray | None:
    if tags.samples != 1:
        raise UserError(
            f"{name} holds {tags.pages} pages of {tags.samples} bands: save each as an image of "
            "its own."
        )
    read, pages = cv2.imdecodemulti(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    pages = [page for page in pages if page.shape == pages[0].shape] if read else []
    return np.stack(pages, axis=2) if len(pages) == tags.pages else None


def _decode_rgba(content: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def _decode_by_opencv(content: bytes) -> np.ndarray | None:
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim == 2:
        return pixels if pixels is None else pixels[..., None]
    return pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]


def _decode_bands(content: bytes, tags: Tags, name: str) -> np.ndarray | None:
    """Two bands, or more than four."""
    if tags.number(COMPRESSION, 1) == UNCOMPRESSED and TILES not in tags.first:
        return _decode_strips(content, tags)
    try:
        import tifffile
    except ImportError as error:
        raise UserError(
            f"{name} has {tags.samples} compressed bands, which the package tifffile reads: "
            "install convnext_dense[tiff], or save the images without compression."
        ) from error
    try:
        pixels = tifffile.imread(io.BytesIO(content), key=0)
    except Exception as error:  # of many kinds
        raise UserError(f"{name} cannot be read as an image: {error}.") from error
    planar = tags.number(PLANAR, 1) == SEPARATE
    return np.moveaxis(pixels, 0, 2) if planar else pixels


def _decode_strips(content: bytes, tags: Tags) -> np.ndarray | None:
    """The bands of an uncompressed file: its strips, one after another."""
    kind = f"{tags.byte_order}{KINDS.get(tags.number(FORMAT, 1), 'u')}{tags.number(BITS, 8) // 8}"
    starts, counts = (np.atleast_1d(tags.first[tag]) for tag in (STRIPS, STRIP_BYTES))
    data = b"".join(content[s : s + n] for s, n in zip(starts, counts, strict=True))
    height, width, bands = tags.number(HEIGHT, 0), tags.number(WIDTH, 0), tags.samples
    pixels = np.frombuffer(data, kind)
    if pixels.size != height * width * bands:
        return None
    pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    if tags.number(PLANAR, 1) == SEPARATE:
        return np.moveaxis(pixels.reshape(bands, height, width), 0, 2)
    return pixels.reshape(height, width, bands)
