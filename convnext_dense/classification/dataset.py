"""Labelled pictures as a data set, and their order."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS, TRANSFORMS
from PIL import Image
from torch.utils.data import Dataset

from convnext_dense.classification.decoding import open_decoder
from convnext_dense.classification.readers import (
    class_names,
    find_classes,
    labels_of,
    open_reader,
    some_files,
)
from convnext_dense.data.seeded_random import seeded_random
from convnext_dense.errors import UserError

# What PIL raises for damaged files of its many formats.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
IN_A_ROW = 100  # that many unreadable pictures one after another: the disk, not the pictures


@DATASETS.register_module()
class LabelledPictures(Dataset):
    """Pictures with one class each.

    Args:
        data_root: Where they lie.
        reader: How they lie there: see :func:`convnext_dense.classification.readers.open_reader`.
        transform: Config of a TrainTransform or TestTransform, or any callable from an RGB PIL
            picture to a tensor.
        metainfo: ``dict(classes=...)``: the names in the order of the labels, or ``imagenet-1k`` or
            ``imagenet-22k``; the engine fills it in. Pictures are matched with them by name.
        test_mode: Leave out what cannot be read, where training takes the next picture.
        indices: Keep the first ones only, so many.
        only_known: Leave out pictures of other classes (folders and tars), instead of refusing.
        decoder: ``pillow``, ``turbojpeg`` or ``torchcodec``: see
            :func:`convnext_dense.classification.decoding.open_decoder`.

    Raises:
        UserError: When the pictures are missing, or of a class that ``metainfo`` does not name;
            for a decoder that is not installed.
    """

    def __init__(
        self,
        data_root: str,
        reader: str,
        transform: dict[str, Any] | Callable,
        metainfo: dict[str, Any],
        test_mode: bool = False,
        indices: int | None = None,
        only_known: bool = False,
        decoder: str = "pillow",
    ) -> None:
        self.metainfo = dict(classes=class_names(metainfo["classes"]))
        self.test_mode = test_mode
        self.decoder = open_decoder(decoder)
        self.transform = TRANSFORMS.build(transform) if isinstance(transform, dict) else transform
        self.reader, names = open_reader(
            reader, data_root, self.metainfo["classes"] if only_known else None
        )
        self.labels = self._labels_of(names, data_root)
        self.length = min(indices or len(self.reader), len(self.reader))

    @staticmethod
    def find_classes(data_root: str, reader: str) -> tuple[str, ...] | None:
        """The class names that the data shows; None where it has labels alone."""
        return find_classes(reader, data_root)

    @staticmethod
    def class_names(classes: str | Sequence[str]) -> tuple[str, ...]:
        """The names behind a config's ``metainfo.classes``."""
        return class_names(classes)

    @staticmethod
    def some_files(data_root: str, reader: str, count: int) -> list[str]:
        """Some pictures to open before a run; none where that would take long."""
        return some_files(reader, data_root, count)

    def _labels_of(self, names: Sequence[str] | None, data_root: str) -> list[int] | None:
        """Our label of each of the reader's; None where they are the same."""
        if names is None:
            known = len(self.metainfo["classes"])
            if self.reader.num_labels > known:
                raise UserError(
                    f"{data_root} holds the label {self.reader.num_labels - 1}, but there are "
                    f"{known} classes: write their names into classes.txt beside the shards."
                )
            return None
        place = {name: label for label, name in enumerate(self.metainfo["classes"])}
        if unknown := [name for name in names if name not in place]:
            raise UserError(
                f"{data_root} holds pictures of {len(unknown)} unknown classes, such as "
                f"{unknown[0]!r}."
            )
        return [place[name] for name in names]

    @property
    def groups(self) -> np.ndarray | None:
        """Number of the shard of each picture; None where there are no shards."""
        found = vars(self.reader).get("groups")
        return None if found is None else found[: self.length]

    def count_labels(self) -> list[int] | None:
        """Pictures of each class; None where that would mean to read all of them."""
        found = labels_of(self.reader)
        if found is None:
            return None
        found = found[: self.length]
        if self.labels is not None:
            found = np.asarray(self.labels)[found]
        return np.bincount(found, minlength=len(self.metainfo["classes"])).tolist()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Any]:
        """Reads one picture.

        Args:
            item: Its index, or (index, seed): then the transform draws from that seed, so that it
                does not matter which process reads the picture, or when.

        Returns:
            ``input``, ``target`` (label), ``path``, and ``unreadable``: (path, reason) of what was
            met on the way. In a test an unreadable picture has no ``input``.
        """
        index, seed = item if isinstance(item, tuple) else (item, None)
        unreadable = []
        while True:
            path = self.reader.filename(index, absolute=True)
            try:
                picture, target = self.decode(index)
                break
            except DAMAGED as error:
                unreadable.append((path, f"{type(error).__name__}: {error}"))
            if self.test_mode:
                return dict(unreadable=unreadable)
            if len(unreadable) == min(IN_A_ROW, len(self)):
                raise UserError(
                    f"{len(unreadable)} pictures in a row cannot be read, the first of them "
                    f"{unreadable[0][0]} ({unreadable[0][1]}): mend the data."
                )
            index = (index + 1) % len(self)
        with seeded_random(seed):
            tensor = self.transform(picture)
        return dict(input=tensor, target=target, path=path, unreadable=unreadable)

    def decode(self, index: int) -> tuple[Image.Image, int]:
        """Reads and decodes a picture: RGB, and its label."""
        file, label = self.reader[index]
        with file:
            picture = self.decoder(file)
        return picture, int(label if self.labels is None else self.labels[label])

    def augment(self, decoded: tuple[Image.Image, int]) -> torch.Tensor:
        """Transforms what :meth:`decode` gave, with random numbers of no seed."""
        return self.transform(decoded[0])


@FUNCTIONS.register_module()
def collate_pictures(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Makes a batch of samples; those without a picture are left out.

    Returns:
        ``inputs`` (N, 3, H, W), ``targets`` (N,), ``paths`` and ``unreadable`` of all samples.
    """
    whole = [sample for sample in samples if "input" in sample]
    return dict(
        inputs=torch.stack([s["input"] for s in whole]) if whole else torch.empty(0, 3, 1, 1),
        targets=torch.tensor([s["target"] for s in whole], dtype=torch.long),
        paths=[s["path"] for s in whole],
        unreadable=[entry for sample in samples for entry in sample["unreadable"]],
    )


@DATA_SAMPLERS.register_module()
class PictureSampler(DefaultSampler):
    """The order of an epoch: whole steps, and shards near each other for a while.

    In training (``shuffle``) processes get equally many pictures. In a test every picture comes
    exactly once, so some processes may have one more.

    Args:
        dataset: A LabelledPictures.
        shuffle: Whether to train.
        seed: The run's seed, equal in all processes.
        step_size: Pictures of one process that make a step of the optimizer; an epoch has whole
            steps (``--accumulate`` sets it, where a config has it).
        window: Shards whose pictures are mixed at a time.
    """

    def __init__(
        self,
        dataset: LabelledPictures,
        shuffle: bool = True,
        seed: int | None = None,
        step_size: int = 1,
        window: int = 16,
    ) -> None:
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=shuffle)
        self.window = window
        if shuffle and self.num_samples > step_size:
            self.num_samples -= self.num_samples % step_size

    def __iter__(self) -> Iterator[int]:
        if not self.shuffle:
            return iter(range(self.rank, len(self.dataset), self.world_size))
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = self._order(generator)
        order = np.resize(order, self.total_size)  # repeats the first ones where needed
        mine = order[self.rank : self.total_size : self.world_size]
        return iter(mine[: self.num_samples].tolist())

    def _order(self, generator: torch.Generator) -> np.ndarray:
        """All indices in a random order; with shards, near each other for a while."""
        groups = self.dataset.groups
        if groups is None:
            return torch.randperm(len(self.dataset), generator=generator).numpy()
        members = np.split(np.arange(len(groups)), np.flatnonzero(np.diff(groups)) + 1)
        shards = torch.randperm(len(members), generator=generator).tolist()
        parts = []
        for start in range(0, len(shards), self.window):
            some = np.concatenate([members[i] for i in shards[start : start + self.window]])
            parts.append(some[torch.randperm(len(some), generator=generator).numpy()])
        return np.concatenate(parts)
