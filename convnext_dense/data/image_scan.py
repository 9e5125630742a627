"""Opening pictures and labels before a run, by the config's own reading steps.

What counts is what training will see: the loader turns a picture as its EXIF says, and the label
step knows the classes.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.registry import TRANSFORMS
from PIL import Image

from convnext_dense.config.tree import walk
from convnext_dense.errors import UserError
from convnext_dense.runs.progress import new_progress

LOADERS, LABELS = ("LoadPicture", "LoadImageFromFile"), "LoadLabels"
VALUES = 256  # of a label
_opener: Callable[[Any], "Opened"]


@dataclass(frozen=True)
class Picture:
    """A picture to open.

    Attributes:
        info: What the data set hands to the first step: ``img_path`` ...
        size: (width, height) that the annotation file states; None where none does.
    """

    info: dict[str, Any]
    size: tuple[int, int] | None = None

    @property
    def path(self) -> str:
        """The file."""
        return self.info["img_path"]


@dataclass(frozen=True)
class Opened:
    """What became of a picture.

    Attributes:
        path: The file.
        unreadable: Why it cannot be read, or None.
        size: (width, height) as training sees it.
        wrong_label: The sentence about its label, or None.
        indices: Pixels of each value in the label file (256,), or None.
        labels: Pixels of each class as training sees it (256,), the last one ignored; or None.
    """

    path: str
    unreadable: str | None = None
    size: tuple[int, int] | None = None
    wrong_label: str | None = None
    indices: np.ndarray | None = None
    labels: np.ndarray | None = None


class Opener:
    """Opens pictures of one data set: ``opener(picture)``.

    Args:
        cfg: The config, for its scope.
        data: The data set's config.
    """

    def __init__(self, cfg: Config, data: ConfigDict) -> None:
        steps = {str(n["type"]).split(".")[-1]: n for n in walk(data.pipeline) if "type" in n}
        with TRANSFORMS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
            loader = next((steps[name] for name in LOADERS if name in steps), dict(type=LOADERS[0]))
            self.load = registry.build(dict(loader))
            self.label = registry.build(dict(steps[LABELS])) if LABELS in steps else None

    def __call__(self, picture: Picture) -> Opened:
        """Reads a picture, and its label where the data set has labels."""
        try:
            results = self.load(dict(picture.info))
            check_whole(picture.path)
        except Exception as error:  # whatever a decoder throws: the picture cannot be trained on
            reason = str(error).splitlines()[0].removeprefix(f"{picture.path} ")
            return Opened(picture.path, unreadable=reason or repr(error))
        size = tuple(results["img_shape"][1::-1])
        if self.label is None:
            return Opened(picture.path, size=size)
        try:
            labels = self.label(results)["gt_seg_map"]
            indices = np.clip(self.label.read(picture.info["seg_map_path"]), 0, VALUES - 1)
        except UserError as error:
            return Opened(picture.path, size=size, wrong_label=str(error))
        return Opened(
            picture.path,
            size=size,
            indices=np.bincount(indices.ravel(), minlength=VALUES),
            labels=np.bincount(labels.ravel(), minlength=VALUES),
        )


class PictureOpener:
    """Opens pictures of a data set with one class each, by their number: ``opener(index)``.

    Args:
        dataset: It has ``decode(index)``, and a ``reader`` that knows the files' names.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __call__(self, index: int) -> Opened:
        """Decodes a picture."""
        try:
            picture, _ = self.dataset.decode(index)
        except Exception as error:
            path = self.dataset.reader.filename(index, absolute=True)
            return Opened(path, unreadable=str(error) or repr(error))
        return Opened("", size=picture.size)


def open_file(path: str) -> Opened:
    """Opens a picture of a classifier."""
    try:
        with Image.open(path) as image:
            return Opened(path, size=image.convert("RGB").size)
    except Exception as error:
        return Opened(path, unreadable=str(error) or repr(error))


def check_whole(path: str) -> None:
    """Raises where a file is cut off: OpenCV fills the missing part of a JPEG with grey.

    Raises:
        OSError: Says that it is truncated.
    """
    try:
        with Image.open(path) as image:
            image.draft("L", (1, 1))  # a JPEG in an eighth of its size, all of its bytes
            image.load()
    except Exception as error:
        if "truncated" in str(error):
            raise
        # a format that Pillow does not know, and the loader does


def spread(count: int, chosen: int) -> list[int]:
    """At most ``chosen`` of the first ``count`` numbers, evenly, the last one included."""
    return np.unique(np.linspace(0, count - 1, min(count, chosen)).round().astype(int)).tolist()


def open_some(opener: Callable, pictures: Sequence) -> list[Opened]:
    """Opens pictures one after another."""
    return [opener(picture) for picture in pictures]


def open_all(opener: Callable, pictures: Sequence, what: str) -> list[Opened]:
    """Opens pictures in as many processes as there are cores, with a progress bar."""
    global _opener
    _opener = opener  # inherited by the processes: a data set would be copied with every task
    processes = max(1, min(len(os.sched_getaffinity(0)), len(pictures)))
    opened = []
    with multiprocessing.get_context("fork").Pool(processes) as pool, new_progress() as progress:
        task = progress.add_task(what, total=len(pictures), figures="")
        for one in pool.imap(_open, pictures, chunksize=8):
            opened.append(one)
            progress.advance(task)
    return opened


def _open(picture: Any) -> Opened:
    return _opener(picture)
