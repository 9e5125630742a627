"""Own data as the flags name it, read into layouts: folders, or annotations drawn into labels."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from convnext_dense.data.formats import reading
from convnext_dense.data.layouts.layout import ALL, SPLIT_NAMES, Layout, Pair
from convnext_dense.data.layouts.recognise import (
    LAYOUTS,
    UnknownLayout,
    recognise,
    recognise_folders,
)
from convnext_dense.data.layouts.rendering import render
from convnext_dense.data.layouts.split_lists import choose, read_list
from convnext_dense.data.own_data import OwnData
from convnext_dense.errors import UserError

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
                return list(layout.splits[name])
        raise _lacks(split, path, layout.splits)

    def _layout(self, images: Path | None, path: Path, split: str) -> Layout:
        # Folders are read once for all splits, annotations split by split.
        role = _wanted(split)[0]
        keys = [(images, path), (images, path, role)]
        known = next((self._read[key] for key in keys if key in self._read), None)
        if known is None:
            known = self._layout_of(images, path, split)
            self._read[keys[not known.folders]] = known
            self.first = self.first or known
        return known

    def _layout_of(self, images: Path | None, path: Path, split: str) -> Layout:
        own = self.own
        partial = bool(own.lists)
        if path.is_dir() and (own.data_format is None or own.data_format in LAYOUTS):
            if images is not None:
                suffix = own.options.get(f"{split}_dataloader.{SUFFIX}")
                return recognise_folders(images, path, suffix, partial)
            try:
                return recognise(path, own.data_format, partial)
            except UnknownLayout:
                if own.data_format or not _is_annotated(path):
                    raise
        return self._drawn(images, path, split)

    def _drawn(self, images: Path | None, path: Path, split: str) -> Layout:
        """Objects of a detector's annotations, drawn into label images."""
        own = self.own
        there = reading.own_splits(path, own.data_format)
        name = next((name for name in _wanted(split) if name in there), None)
        if there and name is None:
            raise _lacks(split, path, there)
        classes = self.first.meaning.classes if self.first else None
        data = reading.read(path, name or split, own.data_format, images, classes and classes[1:])
        pairs, meaning = render(data, path, made_in(own) / "labels" / _wanted(split)[0], classes)
        return Layout(data.format, {name or ALL: pairs}, meaning, tuple(data.remarks))


def made_in(own: OwnData) -> Path:
    """The folder of files that are made of the data."""
    if own.folder is None:
        raise ValueError("own data in this layout needs a folder for files that are made of it")
    return own.folder


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


def _is_annotated(path: Path) -> bool:
    """Whether a detector's annotations lie in a folder."""
    try:
        reading.recognise(path)
    except UserError:
        return False
    return True
