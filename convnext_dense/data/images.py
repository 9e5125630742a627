"""Images on disk: found, read and written, with a sentence where that fails."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS
from PIL import Image
from torch.utils.data import Dataset

from convnext_dense.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
TIFF = (b"II*\0", b"MM\0*")  # the first bytes of such a file


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads an image as BGR (height, width, 3), turned as its EXIF entry says.

    Grey, palette and CMYK become colours, transparency is left out, of 16 bits the upper 8 are
    kept (as in :func:`convnext_dense.classification.decoding.decode_by_pillow`).

    Raises:
        UserError: When there is no such file or it is not a whole image.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no image {path}.")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read as an image: {_reason(error)}.") from error
    return decode_image(content, str(path))


def decode_image(content: bytes, name: str) -> np.ndarray:
    """Decodes a file's content as :func:`read_image` does.

    Args:
        content: The whole file.
        name: Its name for the message.

    Raises:
        UserError: When it is not a whole image.
    """
    try:
        image = _decode(content) if content else None
    except (cv2.error, OSError, ValueError, SyntaxError) as error:  # of too many pixels, unreadable
        raise UserError(f"{name} cannot be read as an image: {_reason(error)}.") from error
    if image is None:
        raise UserError(
            f"{name} cannot be read as an image: it is empty, cut off, of 32 bits or no image."
        )
    return image


def _decode(content: bytes) -> np.ndarray | None:
    if content[:4] in TIFF:
        # OpenCV darkens a TIFF by its transparency, and shows no other format so.
        with Image.open(io.BytesIO(content)) as image:
            if image.mode in ("RGBA", "LA"):
                return np.asarray(image.convert("RGB"))[..., ::-1].copy()
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def _reason(error: Exception) -> str:
    text = error.err if isinstance(error, cv2.error) and error.err else str(error)
    return " ".join(text.split()).rstrip(".")


@TRANSFORMS.register_module()
class LoadImage:
    """Reads ``img_path`` into ``img``, BGR uint8 (height, width, 3): the first step of pipelines.

    mmcv's LoadImageFromFile with sentences and one check more: where the annotation file states
    another size, its boxes and masks would lie beside the objects.

    Raises:
        UserError: See :func:`read_image`; for an image of another size than stated.
    """

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Adds ``img``, ``img_shape`` and ``ori_shape`` to the sample."""
        path = results["img_path"]
        image = read_image(path)
        size = image.shape[:2]
        stated = results.get("height", size[0]), results.get("width", size[1])
        if stated != size:
            turned = stated == size[::-1]
            hint = " It is turned by its EXIF entry: save it as it is shown." if turned else ""
            raise UserError(
                f"{path} has {size[1]} x {size[0]} pixels, but the annotation file says "
                f"{stated[1]} x {stated[0]}: correct the entry, and its boxes and masks.{hint}"
            )
        results.update(img=image, img_shape=size, ori_shape=size)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@contextmanager
def explaining_opencv(image: str) -> Iterator[None]:
    """Turns OpenCV's complaint about an image into a sentence that names it.

    A side of a thin image rounds to no pixel where it is resized with its proportions.

    Raises:
        UserError: For what OpenCV cannot do.
    """
    try:
        yield
    except cv2.error as error:
        raise UserError(
            f"{image} cannot be resized or cut as the config says; most often it is too thin, "
            f"and a side of it comes out at no pixel: leave it out or cut it into parts "
            f"(OpenCV: {_reason(error)})."
        ) from error


class NamingPipeline(Compose):
    """A dataset's pipeline whose errors name the image."""

    def __init__(self, pipeline: Compose) -> None:
        self.transforms = pipeline.transforms

    def __call__(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """Runs all steps on one sample."""
        with explaining_opencv(str(data.get("img_path", "An image"))):
            return super().__call__(data)


def name_images_in_errors(dataset: Dataset) -> None:
    """Lets the pipelines of a dataset, and of those that it wraps, name their images."""
    if isinstance(getattr(dataset, "pipeline", None), Compose):
        dataset.pipeline = NamingPipeline(dataset.pipeline)
    for inner in (getattr(dataset, "dataset", None), *getattr(dataset, "datasets", ())):
        if inner is not None:
            name_images_in_errors(inner)


def write_image(path: Path, image: np.ndarray) -> None:
    """Writes a BGR image.

    Raises:
        UserError: When it cannot be written.
    """
    if not cv2.imwrite(str(path), image):
        raise UserError(f"{path} cannot be written: is the disk full, or the folder protected?")


def find_images(path: str | os.PathLike) -> list[Path]:
    """The image itself, or every image in a folder, sorted.

    Raises:
        UserError: When there is none.
    """
    path = Path(path)
    if path.is_dir():
        images = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise UserError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
        return images
    if not path.is_file():
        raise UserError(f"There is no image or folder {path}.")
    return [path]
