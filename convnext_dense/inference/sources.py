"""Whatever a user has images in, as one lazy sequence of RGB images.

A source is a path, a glob pattern, a folder, an https address, a video file, the number of a
camera, an image of Pillow, an array, a tensor, or a list or generator of these.
"""

import glob
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np

from convnext_dense.data.bands.reading import PLAIN, RGB, Bands, Reading, shown
from convnext_dense.data.images import decode_image, find_images, read_image
from convnext_dense.download import read_bytes
from convnext_dense.errors import UserError
from convnext_dense.inference.arrays import from_array, from_pillow, from_tensor
from convnext_dense.messages import say

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
HEADER_ERROR = 5  # frames by which the headers of whole videos are off
OnError = Callable[[str, UserError], None]


@dataclass(frozen=True)
class SourceImage:
    """One image of a source.

    Attributes:
        array: RGB, uint8 (height, width, 3). Of a model for other images: (height, width,
            channels) in the file's order, with values on the scale of 8 bits.
        name: The file's name; ``image_0`` ... where there is none.
        path: The file or address; None for an image in memory.
        frame: The number of a video's frame, from 0; None for an image.
        seconds: The frame's time from the start of the video; None for an image.
    """

    array: np.ndarray
    name: str
    path: str | None = None
    frame: int | None = None
    seconds: float | None = None

    @cached_property
    def shown(self) -> np.ndarray:
        """The image as people see it: RGB, uint8 (height, width, 3)."""
        is_rgb = self.array.dtype == np.uint8 and self.array.shape[2] == RGB
        return self.array if is_rgb else shown(self.array)


def images(
    source: Any, bgr: bool = False, on_error: OnError | None = None, reading: Reading = PLAIN
) -> Iterator:
    """Yields the images of a source in order, each read when it is asked for.

    Args:
        source: See the module.
        bgr: Arrays and tensors hold blue, green, red, as OpenCV reads them. Files, videos and
            Pillow's images know their order.
        on_error: Called with the name and the error of an image that cannot be read, which is then
            left out. By default the error is raised.
        reading: How the model reads images.

    Yields:
        :class:`SourceImage`.

    Raises:
        UserError: For a source that is none of these, or that holds no image.
    """
    numbers = iter(range(10**18))
    for part in _parts(source, bgr, numbers, reading):
        try:
            yield from part.make()
        except UserError as error:
            if on_error is None:
                raise
            on_error(part.name, error)


def video_of(source: Any) -> str | int | None:
    """The video file or the number of the camera that a source is; None for images."""
    if isinstance(source, int) and not isinstance(source, bool):
        return source
    if not isinstance(source, str | os.PathLike):
        return None
    text = os.fspath(source)
    if text.isdigit() and not Path(text).exists():
        return int(text)
    return text if Path(text).suffix.lower() in VIDEO_SUFFIXES and "://" not in text else None


def files(source: str | os.PathLike) -> list[str]:
    """The images, videos, addresses and cameras that a text names; none of them is opened.

    Raises:
        UserError: When there is none.
    """
    if video_of(source) is not None:
        return [str(source)]
    found = _paths(os.fspath(source))
    for name in found:
        if "://" not in name:
            find_images(name)  # raises where there is none
    return found


@dataclass(frozen=True)
class _Part:
    """Something that makes images when it is called."""

    name: str
    make: Callable[[], Iterable[SourceImage]]


def _parts(source: Any, bgr: bool, numbers: Iterator[int], reading: Reading) -> Iterator[_Part]:
    """The parts of a source, none of which is read yet."""
    video = video_of(source)
    if video is not None:
        yield _Part(str(video), lambda: _frames(video, reading))
    elif isinstance(source, str | os.PathLike):
        yield from (_file(path, reading) for path in _paths(os.fspath(source)))
    elif isinstance(source, np.ndarray) or _is_pillow(source) or _is_tensor(source):
        name = f"image_{next(numbers)}"
        yield _Part(name, lambda: _in_memory(source, name, bgr, reading))
    elif isinstance(source, Iterable) and not isinstance(source, Mapping | bytes | set):
        for one in source:
            yield from _parts(one, bgr, numbers, reading)
    else:
        raise UserError(
            f"A source of type {type(source).__name__} is none of: path, glob, folder, https "
            "address, video, number of a camera, Pillow's image, array, tensor, or a list of these."
        )


def _is_pillow(source: Any) -> bool:
    """Whether it is an image of Pillow, which is imported where there is one."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(source, pillow.Image)


def _is_tensor(source: Any) -> bool:
    return type(source).__module__.split(".")[0] == "torch" and hasattr(source, "detach")


def _in_memory(source: Any, name: str, bgr: bool, reading: Reading) -> Iterator[SourceImage]:
    if _is_pillow(source):
        path = getattr(source, "filename", "") or None
        arrays = [from_pillow(source, name, reading)]
        return iter([SourceImage(arrays[0], Path(path).name if path else name, path)])
    if isinstance(source, np.ndarray):
        return iter([SourceImage(from_array(source, name, bgr, reading), name)])
    arrays = from_tensor(source, name, bgr, reading)
    names = [name] if len(arrays) == 1 else [f"{name}_{i}" for i in range(len(arrays))]
    return (SourceImage(*pair) for pair in zip(arrays, names, strict=True))


def _paths(text: str) -> list[str]:
    """The files of a text: an address, a file, the images of a folder, or those of a pattern."""
    if "://" in text:
        return [text]
    path = Path(text).expanduser()
    if not path.exists() and glob.has_magic(text):
        found = sorted(p for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
        if not found:
            raise UserError(f"No file matches {text}.")
        return found
    return [str(one) for one in find_images(path)] if path.is_dir() else [str(path)]


def _file(text: str, reading: Reading) -> _Part:
    if video_of(text) is not None:
        return _Part(text, lambda: _frames(text, reading))
    if "://" in text:
        name = Path(unquote(urlsplit(text).path)).name or "image"
        return _Part(name, lambda: [SourceImage(_download(text, reading), name, text)])
    name = Path(text).name
    return _Part(name, lambda: [SourceImage(_rgb(read_image(text, reading)), name, text)])


def _rgb(image: np.ndarray) -> np.ndarray:
    """Three channels in the order of colours; others are in the file's order."""
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.shape[2] == RGB else image


def _download(url: str, reading: Reading) -> np.ndarray:
    return _rgb(decode_image(read_bytes(url), url, reading))


@dataclass(frozen=True)
class VideoFacts:
    """What a video file or a camera says of itself.

    Attributes:
        rate: Frames a second; 25 where it says nothing that can be right.
        frames: Number of frames, 0 where it is not known, as for a camera.
    """

    rate: float
    frames: int


def open_video(video: str | int) -> tuple[cv2.VideoCapture, VideoFacts]:
    """Opens a video file, or the camera of a number.

    Raises:
        UserError: When that fails.
    """
    if isinstance(video, str) and not Path(video).is_file():
        raise UserError(f"There is no video {video}.")
    capture = cv2.VideoCapture(video)
    if not capture.isOpened():
        if isinstance(video, int):
            raise UserError(f"There is no camera {video}, or another program uses it.")
        raise UserError(f"{video} cannot be read as a video: it is damaged, or of an unknown kind.")
    rate = capture.get(cv2.CAP_PROP_FPS)
    rate = rate if 0 < rate < 1000 else 25.0
    frames = capture.get(cv2.CAP_PROP_FRAME_COUNT) if isinstance(video, str) else 0
    return capture, VideoFacts(rate, max(0, int(frames)))


def _frames(video: str | int, reading: Reading) -> Iterator[SourceImage]:
    """The frames, one at a time."""
    capture, facts = open_video(video)

    name = f"camera_{video}" if isinstance(video, int) else Path(video).name
    path = None if isinstance(video, int) else video
    number = 0
    try:
        while (read := capture.read())[0]:
            pixels = reading.of_bands(Bands(_rgb(read[1])), name)
            yield SourceImage(pixels, name, path, number, number / facts.rate)
            number += 1
    finally:
        capture.release()
    if not number:
        raise UserError(f"{video} holds no frame that can be read.")
    if number < facts.frames - HEADER_ERROR:
        say(
            f"{video} can be read up to frame {number} only; its header says {facts.frames}.",
            logging.WARNING,
        )
