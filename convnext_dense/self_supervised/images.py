"""A dataset of images without labels: every image of a folder and of the folders in it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import DATASETS, FUNCTIONS, TRANSFORMS
from PIL import Image
from torch.utils.data import Dataset

from convnext_dense.data.decoding.decoders import decode_by_pillow
from convnext_dense.data.decoding.unreadable import first_readable
from convnext_dense.data.formats.image_files import list_images
from convnext_dense.errors import UserError


@DATASETS.register_module()
class UnlabelledImages(Dataset):
    """The images in a folder, at any depth, in views that a transform makes.

    Args:
        data_root: The folder; files and folders whose names begin with a dot are left out.
        transform: Config of a SingleView or MultiCropViews, or any callable from an RGB PIL image
            to a dict of uint8 views (V, 3, H, W).
        indices: Number of images to keep, from the first one on.

    Attributes:
        paths: The files, sorted.
        metainfo: Empty: there are no classes.

    Raises:
        UserError: When the folder is missing or contains no image.
    """

    def __init__(
        self,
        data_root: str,
        transform: dict[str, Any] | Callable[[Image.Image], dict[str, torch.Tensor]],
        indices: int | None = None,
    ) -> None:
        self.metainfo: dict[str, Any] = {}
        self.paths = find_images(data_root)[:indices]
        self.transform = TRANSFORMS.build(transform) if isinstance(transform, dict) else transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Reads one image, or the next one that can be read.

        Returns:
            ``views`` by name, ``path``, and ``unreadable``: (path, reason) of each image that could
            not be read.
        """
        image, index, unreadable = first_readable(
            self.decode, self.paths.__getitem__, index, len(self)
        )
        return dict(views=self.transform(image), path=self.paths[index], unreadable=unreadable)

    def decode(self, index: int) -> Image.Image:
        """Reads and decodes an image, in RGB."""
        with open(self.paths[index], "rb") as file:
            return decode_by_pillow(file)


def find_images(folder: str) -> list[str]:
    """The images of a folder at any depth.

    Raises:
        UserError: When it is missing, no folder, or contains none.
    """
    if not Path(folder).exists():
        raise UserError(f"There is no folder {folder} of images: name it with --images DIR.")
    if not Path(folder).is_dir():
        raise UserError(f"{folder} is a file: name the folder of the images with --images.")
    paths = [str(path) for path in list_images(Path(folder))]
    if not paths:
        raise UserError(
            f"{folder} contains no images, at any depth: name the folder of the images with "
            "--images."
        )
    return paths


@FUNCTIONS.register_module()
def collate_views(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Makes a batch.

    Returns:
        ``views``: by name, (N, V, 3, H, W); ``paths``, and ``unreadable`` of all samples.
    """
    names = samples[0]["views"]
    return dict(
        views={name: torch.stack([s["views"][name] for s in samples]) for name in names},
        paths=[sample["path"] for sample in samples],
        unreadable=[entry for sample in samples for entry in sample["unreadable"]],
    )
