"""Own data as the flags name it, read into layouts."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from convnext_dense.data.formats.reading import is_known
from convnext_dense.data.layouts.layout import ALL, SPLIT_NAMES, Layout, Pair
from convnext_dense.data.layouts.pairing import images_in
from convnext_dense.data.layouts.recognise import (
    LAYOUTS,
    UnknownLayout,
    recognise,
    recognise_folders,
)
from convnext_dense.data.layouts.split_lists import choose, read_list
from convnext_dense.data.own.own_data import OwnData
from convnext_dense.errors import UserError

SHOWN = 5
SUFFIX = "dataset.seg_map_suffix"


@dataclass
class Sources:
    """Reads own data split by split; each source once.

    Attributes:
        own: The flags.
        first: The layout of the training data, or of the first that was read.
    """

    own: OwnData
    first: Layout | None = None
    _read: dict[tuple, Layout] = field(default_factory=dict)

    def pairs(self, split: str) -> list[Pair]:
        """The images and labels of a split.

        Raises:
            UserError: Where the data has no such split, or a list names what is not there.
        """
        is_named = split in self.own.sources
        images, path = self.own.sources[split] if is_named else self.own.sources["train"]
        layout = self._layout(images, path, split)
        if split in self.own.lists:
            file = self.own.lists[split]
            every = dict.fromkeys(pair for pairs in layout.splits.values() for pair in pairs)
            return choose(list(every), read_list(file), file)
        for name in (*_wanted(split), *((ALL,) if is_named else ())):
            if name in layout.splits:
                if self.own.lists:
                    _refuse_unlabelled(split, layout.splits[name], layout)
                return list(layout.splits[name])
        raise _lacks(split, path, layout.splits)

    def are_annotations(self) -> bool:
        """Whether own data are a detector's annotations: objects that are still to be drawn.

        Raises:
            UserError: For a folder that is neither this nor in a layout of label images.
        """
        split, (images, path) = next(iter(self.own.sources.items()))
        if path.is_file():
            return True
        if self.own.data_format is not None:
            return self.own.data_format not in LAYOUTS
        try:
            self._layout(images, path, split)
        except UnknownLayout:
            if not is_known(path):
                raise
            return True
        return False

    def refuse_different(self) -> None:
        """Labels of one run have one meaning.

        Raises:
            UserError: For training and validation data whose values mean different things.
        """
        for (_, path), layout in self._read.items():
            if replace(layout.meaning, source="") != replace(self.first.meaning, source=""):
                raise UserError(
                    f"{path} has labels as {layout.meaning.source or layout.name}, and the other "
                    f"data as {self.first.meaning.source or self.first.name}: give both in one "
                    "layout."
                )

    def _layout(self, images: Path | None, path: Path, split: str) -> Layout:
        if (images, path) not in self._read:
            partial = bool(self.own.lists)  # which name what is used
            if images is None:
                found = recognise(path, self.own.data_format, partial)
            else:
                suffix = self.own.options.get(f"{split}_dataloader.{SUFFIX}")
                found = recognise_folders(images, path, suffix, partial)
            self._read[images, path] = found
            self.first = self.first or found
        return self._read[images, path]


def _refuse_unlabelled(split: str, pairs: Sequence[Pair], layout: Layout) -> None:
    """Refuses images without a label in a split that no list names, where another has a list."""
    if layout.name == "voc" or not pairs:  # which has images without a label
        return
    folder = Path(os.path.commonpath([image.parent for image, _ in pairs]))
    used = {path for chosen in layout.splits.values() for pair in chosen for path in pair}
    left = [name for name in images_in(folder) if folder / name not in used]
    if left:
        flag = "train" if split == "train" else "val"
        raise UserError(
            f"{len(left)} images of {folder} have no label: {', '.join(left[:SHOWN])}"
            f"{' ...' if len(left) > SHOWN else ''}: label them, move them away, or name those to "
            f"use with --{flag}-list."
        )


def _wanted(split: str) -> tuple[str, ...]:
    """The splits of the data that serve as one: without a validation split, that of the test."""
    return ("train",) if split == "train" else ("val", "test")


def _lacks(split: str, path: Path, there: Iterable[str]) -> UserError:
    """The sentence on a split that is not there."""
    found = ", ".join("images that are not divided" if name == ALL else name for name in there)
    names = ", ".join(name for wanted in _wanted(split) for name in SPLIT_NAMES[wanted])
    remedy = (
        "name the folder of the training data itself with --train-data"
        if split == "train"
        else "name validation data with --val-data or --val-list, or take a share of the training "
        "data for it with --split 0.2"
    )
    return UserError(f"{path} has no {split} split: looked for {names}; found {found}: {remedy}.")
