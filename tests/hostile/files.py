"""Files as users have them: images of every kind, damaged ones, mutated JSON."""

import io
import json
import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hypothesis import strategies as st
from PIL import Image

THIN = [(1, 1), (1, 700), (700, 1), (3, 700), (1, 10000), (10000, 1), (2, 3), (1, 64), (200, 1)]
# (width, height)
sizes = st.one_of(
    st.tuples(st.integers(8, 60), st.integers(8, 60)),
    st.tuples(st.integers(8, 60), st.integers(8, 60)),
    st.sampled_from(THIN),
)
WHOLE = ("jpg", "png", "webp", "bmp", "gif", "tif", "grey jpg", "grey png", "16 bit png",
         "16 bit tif", "16 bit rgb png", "float tif", "cmyk jpg", "cmyk tif", "alpha png",
         "alpha tif", "alpha grey png", "palette png", "bit png", "exif 6 jpg", "exif 3 jpg",
         "exif 5 png", "exif 9 jpg")  # fmt: skip
whole = st.sampled_from(WHOLE)
DAMAGE = ("truncated", "truncated", "flipped", "flipped", "empty", "text", "bomb", "missing",
          "folder", "zeros")  # fmt: skip
damages = st.sampled_from(DAMAGE)
seeds = st.integers(0, 2**16)


def encode(kind: str, width: int, height: int, seed: int) -> bytes:
    """An image of one of the kinds :data:`WHOLE`."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    *words, ending = kind.split()
    options: dict[str, Any] = {}
    match words:
        case ["16", "bit"]:
            image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        case ["16", "bit", "rgb"]:
            return cv2.imencode(".png", pixels.astype(np.uint16) * 257)[1].tobytes()
        case ["float"]:
            image = Image.fromarray(pixels[..., 0].astype(np.float32))
        case ["exif", number]:
            options["exif"] = Image.Exif()
            options["exif"][0x0112] = int(number)
        case [mode, *more]:
            modes = {"grey": "L", "cmyk": "CMYK", "alpha": "RGBA", "palette": "P", "bit": "1"}
            image = image.convert("LA" if more else modes[mode])
    formats = {"jpg": "jpeg", "tif": "tiff"}
    file = io.BytesIO()
    image.save(file, formats.get(ending, ending), **options)
    return file.getvalue()


def shown_size(kind: str, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of an image as its EXIF entry turns it."""
    return size[::-1] if kind in ("exif 6 jpg", "exif 5 png") else size


def damage(data: bytes, how: str, seed: int) -> bytes:
    """What is left of a file after an accident."""
    draw = random.Random(seed)
    match how:
        case "truncated":
            return data[: draw.randrange(len(data))]
        case "flipped":
            found = bytearray(data)
            for _ in range(draw.choice([1, 1, 3, 20])):
                found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
            return bytes(found)
        case "text":
            return b"<html><title>404 Not Found</title></html>\n"
        case "zeros":
            return bytes(len(data))
        case "bomb":  # a PNG of 60,000 x 60,000 pixels, if one believes its header
            file = bytearray(encode("grey png", 8, 8, 0))
            file[16:24] = (60000).to_bytes(4, "big") * 2
            return bytes(file)
    return b""


def write(path: Path, kind: str, size: tuple[int, int], how: str | None, seed: int) -> None:
    """Writes an image, or what is left of it."""
    if how == "missing":
        return
    if how == "folder":
        path.mkdir()
        return
    data = encode(kind, *size, seed)
    path.write_bytes(data if how is None else damage(data, how, seed))


GARBAGE: list[Any] = [
    None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, float("nan"), float("inf"), float("-inf"),
    2**31, 2**63, 2**64, 10**30, -(2**63) - 1, "", "a", "1", "nan", "é\u0000\ud83d", "x" * 300,
    "../../etc/passwd", "/", [], [[]], [None], [[[1]]], {}, {"a": {"b": []}}, [0, 0, 0, 0],
    [1, 2], [float("nan")] * 4, [-5, -5, 3, 3], [0, 0, 0, 10], {"size": [3, 3], "counts": "zzz"},
    {"counts": [1]}, {"size": [0, 0], "counts": []}, {"size": [10**9, 10**9], "counts": [10**18]},
    [[1, 1, 1, 1, 1, 1]], [[0, 0, 5, 5]], [["a"] * 8], [[1, 2, 3]],
]  # fmt: skip


def mutate(content: Any, draw: random.Random, times: int) -> Any:
    """Changes, removes, doubles or replaces entries of a JSON value, at random places."""
    for _ in range(times):
        places = list(_places(content))
        if not places:
            return draw.choice(GARBAGE)
        parent, key = draw.choice(places)
        match draw.randrange(6):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, list):
                parent.insert(key, json.loads(json.dumps(parent[key])))
            case 2 if isinstance(parent[key], int | float):
                parent[key] = draw.choice([-parent[key], parent[key] + 1, str(parent[key])])
            case 3:
                other, place = draw.choice(places)
                parent[key] = json.loads(json.dumps(other[place]))
            case _:
                parent[key] = json.loads(json.dumps(draw.choice(GARBAGE)))
    return content


def _places(node: Any):
    """(container, key) of everything in a JSON value."""
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(entries):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)
