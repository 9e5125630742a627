"""Reading a label image: indices as they are, or colours whose classes are known."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from convnext_dense.errors import UserError

IGNORED = 255  # the label of pixels that are left out of training and evaluation
SHOWN = 8  # colours in a message
Colour = tuple[int, int, int]


def read_indices(path: str | Path) -> np.ndarray:
    """Reads the indices (H, W) of a label image, int64; of a palette image, the palette indices.

    Three equal channels are read as one, and an opaque fourth is left out.

    Raises:
        UserError: If it is missing, damaged, or has colours or floating-point values.
    """
    values = _open(path)
    if values.ndim == 3:
        values = _one_channel(values, path)
    if values.dtype.kind == "f":
        raise UserError(
            f"{path} holds floating-point numbers: a label image has integer class indices."
        )
    return values.astype(np.int64)


def read_colours(path: str | Path) -> np.ndarray:
    """Reads the colours of a label image (H, W), int64: red * 65536 + green * 256 + blue.

    A palette image has the colours of its palette, one channel has shades of grey; transparency is
    left out.

    Raises:
        UserError: If it is missing or damaged, or holds more than 8 bits.
    """
    pixels = _open(path, as_colours=True)
    if pixels.dtype != np.uint8:
        raise UserError(
            f"{path} holds {pixels.dtype} numbers, and colours have 8 bits: leave out --palette "
            "where these are indices."
        )
    red, green, blue = (pixels[..., channel].astype(np.int64) for channel in range(3))
    return (red << 16) + (green << 8) + blue


def map_colours(
    codes: np.ndarray, colours: Sequence[Sequence[int]], path: str | Path
) -> np.ndarray:
    """Turns colours into indices.

    Args:
        codes: Colours of :func:`read_colours`.
        colours: Red, green, blue and the index of each known colour; 255 is ignored.
        path: The file, for the message.

    Raises:
        UserError: For a colour that is not known. The nearest one is never taken: along edges that
            a resize or JPEG has blurred it may be any class.
    """
    table = sorted((red * 65536 + green * 256 + blue, index) for red, green, blue, index in colours)
    known, indices = np.array(table, np.int64).T
    places = np.searchsorted(known, codes).clip(max=len(known) - 1)
    unknown = known[places] != codes
    if unknown.any():
        wrong = codes[unknown]
        shares = shares_of_colours(wrong, codes.size)
        few = " (blurred edges: save label images without smoothing)" if len(shares) > SHOWN else ""
        first = colour_text(next(iter(shares)))
        raise UserError(
            f"{path} holds {len(shares)} colours without a class, in {len(wrong) / codes.size:.2%} "
            f"of its pixels{few}: {shares_text(shares)}: add them to the palette (a line "
            f"NAME,{first}, or ignore,{first}); the nearest colour is never guessed."
        )
    return indices[places]


def map_values(values: np.ndarray, pairs: Sequence[Sequence[int]], path: str | Path) -> np.ndarray:
    """Turns the values of a mask into indices.

    Args:
        values: What the file holds, (H, W).
        pairs: Pairs (value, index).
        path: The file, for the message.

    Raises:
        UserError: For a value that no pair names.
    """
    indices = np.full(values.shape, -1, np.int64)
    for value, index in pairs:
        indices[values == value] = index
    if (indices < 0).any():
        named = ", ".join(str(value) for value, _ in pairs)
        found = np.unique(values[indices < 0])
        raise UserError(
            f"{path} holds the value {found[0]}, but --mask-values names {named}: name its class "
            f"too, as {found[0]}=NAME, or {found[0]}=ignore."
        )
    return indices


def shares_of_colours(codes: np.ndarray, pixels: int) -> dict[Colour, float]:
    """The share of each colour in ``pixels`` pixels, the most frequent first."""
    found, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {
        (code >> 16, code >> 8 & 255, code & 255): count / pixels
        for code, count in zip(found[order].tolist(), counts[order].tolist(), strict=True)
    }


def shares_text(shares: Mapping[Colour, float]) -> str:
    """The most frequent colours as a text."""
    shown = [f"{colour_text(colour)} ({share:.2%})" for colour, share in shares.items()]
    return "; ".join(shown[:SHOWN]) + (" ..." if len(shown) > SHOWN else "")


def colour_text(colour: Colour) -> str:
    """A colour as a palette file writes it."""
    return ",".join(map(str, colour))


def _open(path: str | Path, as_colours: bool = False) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if as_colours and image.mode in ("1", "L", "P", "LA", "PA", "RGB", "RGBA"):
                image = image.convert("RGBA" if "A" in image.mode else "RGB")
            return np.array(image)
    except FileNotFoundError as error:
        raise UserError(f"There is no label file {path}: each image needs a label file.") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as a label image ({error}).") from error


def _one_channel(values: np.ndarray, path: str | Path) -> np.ndarray:
    """The one channel of an image whose colour channels are equal.

    Raises:
        UserError: For colours, with their shares.
    """
    colours = values[..., :3] if values.shape[2] >= 3 else values[..., :1]
    if (colours == colours[..., :1]).all() and values.shape[2] <= 4:
        if values.shape[2] in (2, 4) and (values[..., -1] != np.iinfo(values.dtype).max).any():
            raise UserError(
                f"{path} has transparent pixels, whose class is not clear: save it as one channel "
                "of class indices."
            )
        return colours[..., 0]
    if values.shape[2] > 4 or values.dtype != np.uint8:
        raise UserError(
            f"{path} has {values.shape[2]} channels: a label image has one channel with the "
            "class index, or colours of 8 bits that --palette FILE names."
        )
    codes = colours.astype(np.int64) @ [65536, 256, 1]
    shares = shares_of_colours(codes, codes.size)
    raise UserError(
        f"{path} has {values.shape[2]} channels with {len(shares)} colours, and a label image has "
        "class indices: name the class of each colour in a file of lines NAME,red,green,blue and "
        f"give --palette FILE; the colours are {shares_text(shares)}."
    )
