"""A split as writers take it: images with their objects, under names that do not collide."""

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convnext_dense.atomic_files import explaining_full_disks
from convnext_dense.data.formats.geometry import segmentation_mask
from convnext_dense.errors import UserError

Place = Callable[[Path, Path], None]  # puts an image to a new path


@dataclass(frozen=True)
class Split:
    """A split.

    Attributes:
        content: In COCO's form, with absolute names of images.
        classes: Names of all classes, those of other splits included.
        names: New name of each image by its id; no two in a folder have the same stem.
    """

    content: dict
    classes: tuple[str, ...]
    names: Mapping[int, str]

    @property
    def images(self) -> Iterator[tuple[dict, str, list[dict]]]:
        """Each image's entry, its new name, and its annotations with the class as ``name``."""
        of_image: dict[int, list[dict]] = defaultdict(list)
        of_class = {entry["id"]: entry["name"] for entry in self.content["categories"]}
        for annotation in self.content["annotations"]:
            named = {**annotation, "name": of_class[annotation["category_id"]]}
            of_image[annotation["image_id"]].append(named)
        for image in self.content["images"]:
            yield image, self.names[image["id"]], of_image[image["id"]]

    @property
    def has_masks(self) -> bool:
        """Whether any object has one."""
        return any(annotation.get("segmentation") for annotation in self.content["annotations"])


def make_splits(contents: Mapping[str, dict], one_folder: bool) -> dict[str, Split]:
    """Splits with classes in one order, and new names of their images.

    Args:
        contents: Each split in COCO's form.
        one_folder: Whether the images of all splits lie in one folder.
    """
    classes = dict.fromkeys(
        category["name"] for content in contents.values() for category in content["categories"]
    )
    stems = Counter(
        (split if not one_folder else "", Path(image["file_name"]).stem.casefold())
        for split, content in contents.items()
        for image in content["images"]
    )
    taken: set[tuple[str, str]] = set()
    splits = {}
    for split, content in contents.items():
        folder = split if not one_folder else ""
        names = {}
        for image in content["images"]:
            path = Path(image["file_name"])
            stem = path.stem
            if stems[folder, stem.casefold()] > 1:
                stem = "_".join([*dict.fromkeys((split, path.parent.name)), stem])
            names[image["id"]] = _free(folder, stem, taken) + path.suffix
        splits[split] = Split(content, tuple(classes), names)
    return splits


def object_mask(annotation: dict, image: dict):
    """The mask (height, width), uint8, of an object that has one."""
    return segmentation_mask(annotation["segmentation"], (image["width"], image["height"]))


def put_image(source: Path, target: Path) -> None:
    """Links an image where it is on the same disk, else copies it."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        copy_image(source, target)


def copy_image(source: Path, target: Path) -> None:
    """Copies an image.

    Raises:
        UserError: When it is not there.
    """
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise UserError(
            f"There is no image {source}: name the folder of the images with --images."
        ) from error


@contextmanager
def writing_folder(target: Path) -> Iterator[Path]:
    """Gives a folder to write to, which becomes the target at the end, or is removed.

    Raises:
        UserError: When the target is there and not empty, or cannot be written.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(
            f"{target} is there already: name a new folder, or move that one away; nothing is "
            "written over."
        )
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with explaining_full_disks(str(target), "Make room, and convert again."):
            draft.mkdir(parents=True)
            yield draft
            draft.replace(target)
    except PermissionError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def folder_of(path: Path) -> Path:
    """A folder, made where it is missing."""
    path.mkdir(parents=True, exist_ok=True)
    return path


def _free(folder: str, stem: str, taken: set[tuple[str, str]]) -> str:
    number, free = 1, stem
    while (folder, free.casefold()) in taken:
        number += 1
        free = f"{stem}_{number}"
    taken.add((folder, free.casefold()))
    return free
