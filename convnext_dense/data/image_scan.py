"""Opening images and labels before a run, by the config's own reading steps.

What counts is what training will see: the loader turns an image as its EXIF says, and the label
step knows the classes.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.registry import TRANSFORMS
from PIL import Image

from convnext_dense.config.config_tree import walk
from convnext_dense.errors import UserError
from convnext_dense.runs.progress import new_progress

LOADERS, LABELS = ("LoadImage", "LoadImageFromFile"), "LoadLabels"
VALUES = 256  # of a label
_opener: Callable[[Any], "OpenedImage"]


@dataclass(frozen=True)
class ListedImage:
    """An image to open.

    Attributes:
        info: What the dataset hands to the first step: ``img_path`` ...
        size: (width, height) that the annotation file states; None where none does.
    """

    info: dict[str, Any]
    size: tuple[int, int] | None = None

    @property
    def path(self) -> str:
        """The file."""
        return self.info["img_path"]


@dataclass(frozen=True)
class OpenedImage:
    """What became of an image.

    Attributes:
        path: The file.
        unreadable: Why it cannot be read, or None.
        size: (width, height) as training sees it; None where the label alone was read.
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


class ImageOpener:
    """Opens images of one dataset: ``opener(image)``.

    Args:
        cfg: The config, for its scope.
        data: The dataset's config.
    """

    def __init__(self, cfg: Config, data: ConfigDict) -> None:
        steps = {str(n["type"]).split(".")[-1]: n for n in walk(data.pipeline) if "type" in n}
        with TRANSFORMS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
            loader = next((steps[name] for name in LOADERS if name in steps), dict(type=LOADERS[0]))
            self.load = registry.build(dict(loader))
            self.label = registry.build(dict(steps[LABELS])) if LABELS in steps else None

    def __call__(self, image: ListedImage) -> OpenedImage:
        """Reads an image, and its label where the dataset has labels."""
        try:
            results = self.load(dict(image.info))
            refuse_truncated(image.path)
        except Exception as error:  # whatever a decoder throws: the image cannot be trained on
            reason = str(error).splitlines()[0].removeprefix(f"{image.path} ")
            return OpenedImage(image.path, unreadable=reason or repr(error))
        size = tuple(results["img_shape"][1::-1])
        if self.label is None:
            return OpenedImage(image.path, size=size)
        return replace(self.open_label(image, results), size=size)

    def open_label(self, image: ListedImage, results: dict[str, Any] | None = None) -> OpenedImage:
        """Reads the label of an image; without ``results`` of the image, not the image itself."""
        results = dict(image.info, seg_fields=[]) if results is None else results
        try:
            labels = self.label(results)["gt_seg_map"]
            indices = np.clip(self.label.read(image.info["seg_map_path"]), 0, VALUES - 1)
        except UserError as error:
            return OpenedImage(image.path, wrong_label=str(error))
        return OpenedImage(
            image.path,
            indices=np.bincount(indices.ravel(), minlength=VALUES),
            labels=np.bincount(labels.ravel(), minlength=VALUES),
        )


class DecodingOpener:
    """Opens images of a dataset with one class each, by their number: ``opener(index)``.

    Args:
        dataset: It has ``decode(index)``, and a ``reader`` that knows the files' names.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __call__(self, index: int) -> OpenedImage:
        """Decodes an image."""
        try:
            image, _ = self.dataset.decode(index)
        except Exception as error:
            path = self.dataset.reader.filename(index, absolute=True)
            return OpenedImage(path, unreadable=str(error) or repr(error))
        return OpenedImage("", size=image.size)


def open_classified(path: str) -> OpenedImage:
    """Opens an image of a classifier."""
    try:
        with Image.open(path) as image:
            return OpenedImage(path, size=image.convert("RGB").size)
    except Exception as error:
        return OpenedImage(path, unreadable=str(error) or repr(error))


def refuse_truncated(path: str) -> None:
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


def evenly_spaced(count: int, chosen: int) -> list[int]:
    """At most ``chosen`` of the first ``count`` numbers, evenly, the last one included."""
    return np.unique(np.linspace(0, count - 1, min(count, chosen)).round().astype(int)).tolist()


def open_each(opener: Callable, images: Sequence) -> list[OpenedImage]:
    """Opens images one after another."""
    return [opener(image) for image in images]


def open_in_parallel(opener: Callable, images: Sequence, what: str) -> list[OpenedImage]:
    """Opens images in as many processes as there are cores, with a progress bar."""
    global _opener
    _opener = opener  # inherited by the processes: a dataset would be copied with every task
    processes = max(1, min(len(os.sched_getaffinity(0)), len(images)))
    opened = []
    with (
        multiprocessing.get_context("fork").Pool(processes, _end_at_once) as pool,
        new_progress() as progress,
    ):
        task = progress.add_task(what, total=len(images), figures="")
        for image in pool.imap(_open, images, chunksize=8):
            opened.append(image)
            progress.advance(task)
    return opened


def _end_at_once() -> None:
    """Lets the pool end its processes: they inherit this process's handlers, which wait."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _open(image: Any) -> OpenedImage:
    return _opener(image)
