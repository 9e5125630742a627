"""TIFF files of any number of bands, written by hand: no library of the tests writes them all."""

import struct
from pathlib import Path

import numpy as np

KINDS = {"u": 1, "i": 2, "f": 3}


def write_tiff(
    path: Path,
    pixels: np.ndarray,
    *,
    extra: int = 0,
    planar: bool = False,
    largest: int | None = None,
    byte_order: str = "<",
    orientation: int = 1,
) -> Path:
    """Writes an uncompressed image.

    Args:
        path: The file.
        pixels: (height, width, bands) of any type; three bands and more begin with RGB.
        extra: Kind of the extra bands: 0 unknown, 2 transparency.
        planar: One band after another instead of one pixel after another.
        largest: The largest value, as the file declares it; None: it declares none.
        byte_order: ``<`` or ``>``.
        orientation: As EXIF counts them, 1 to 8.
    """
    height, width, bands = pixels.shape
    data = np.moveaxis(pixels, 2, 0) if planar else pixels
    data = data.astype(pixels.dtype.newbyteorder(byte_order)).tobytes()
    colours = 3 if bands >= 3 else 1
    bits = [pixels.dtype.itemsize * 8] * bands
    plane = len(data) // (bands if planar else 1)
    strips = bands if planar else 1
    tags = {
        256: ("H", [width]),
        257: ("H", [height]),
        258: ("H", bits),
        259: ("H", [1]),
        262: ("H", [2 if colours == 3 else 1]),
        273: ("I", [8 + plane * i for i in range(strips)]),
        274: ("H", [orientation]),
        277: ("H", [bands]),
        278: ("H", [height]),
        279: ("I", [plane] * strips),
        284: ("H", [2 if planar else 1]),
        339: ("H", [KINDS[pixels.dtype.kind]] * bands),
    }
    if bands > colours:
        tags[338] = ("H", [extra] * (bands - colours))
    if largest is not None:
        tags[281] = ("H", [largest] * bands)
    first = 8 + len(data) + len(data) % 2
    after = first + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, (kind, numbers) in sorted(tags.items()):
        packed = struct.pack(f"{byte_order}{len(numbers)}{kind}", *numbers)
        field = struct.pack(f"{byte_order}HHI", tag, 3 if kind == "H" else 4, len(numbers))
        if len(packed) <= 4:
            entries += field + packed.ljust(4, b"\0")
        else:
            entries += field + struct.pack(f"{byte_order}I", after + len(values))
            values += packed
    magic = b"II*\0" if byte_order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{byte_order}I", first)
    ifd = struct.pack(f"{byte_order}H", len(tags)) + entries + struct.pack(f"{byte_order}I", 0)
    path.write_bytes(head + data + b"\0" * (len(data) % 2) + ifd + values)
    return path
