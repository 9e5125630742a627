"""A dataset of labelled images, and the sampler that orders it."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS, TRANSFORMS
from PIL import Image
from torch.utils.data import Dataset

from convnext_dense.classification.readers import (
    class_names,
    find_classes,
    labels_of,
    open_reader,
    some_files,
)
from convnext_dense.data.decoding.decoders import open_decoder
from convnext_dense.data.decoding.unreadable import DAMAGED_FILE_ERRORS, first_readable
from convnext_dense.data.seeded_random import seeded_random
from convnext_dense.errors import UserError


@DATASETS.register_module()
class LabelledImages(Dataset):
    """Images with one class each.

    Args:
        data_root: Folder (or tar) of the images.
        reader: Layout of the folder, see :func:`convnext_dense.classification.readers.open_reader`.
        transform: Config of a TrainTransform or TestTransform, or any callable from an RGB PIL
            image to a tensor.
        metainfo: ``dict(classes=...)``: the class names in the order of the labels, or
            ``imagenet-1k`` or ``imagenet-22k``; the engine fills it in. The classes of the data
            are matched by name.
        test_mode: Leave out unreadable images. In training the next image replaces them.
        indices: Number of images to keep, from the first one on.
        only_known: Leave out images of other classes (folders and tars) instead of refusing them.
        decoder: ``pillow``, ``turbojpeg`` or ``torchcodec``, see
            :func:`convnext_dense.data.decoding.decoders.open_decoder`.

    Raises:
        UserError: If the images are missing or have a class that ``metainfo`` does not name, or if
            the decoder is not installed.
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
        """The class names that the data contains; None if it contains label numbers only."""
        return find_classes(reader, data_root)

    @staticmethod
    def class_names(classes: str | Sequence[str]) -> tuple[str, ...]:
        """The class names for a config's ``metainfo.classes``."""
        return class_names(classes)

    @staticmethod
    def some_files(data_root: str, reader: str, count: int) -> list[str]:
        """Some images to check before a run; none if listing them takes long."""
        return some_files(reader, data_root, count)

    def _labels_of(self, names: Sequence[str] | None, data_root: str) -> list[int] | None:
        """Our label for each label of the reader; None if they are the same."""
        if names is None:
            num_classes = len(self.metainfo["classes"])
            if self.reader.num_labels > num_classes:
                raise UserError(
                    f"{data_root} holds the label {self.reader.num_labels - 1}, but there are "
                    f"{num_classes} classes: write all class names into classes.txt in that folder."
                )
            return None
        labels = {name: label for label, name in enumerate(self.metainfo["classes"])}
        if unknown := [name for name in names if name not in labels]:
            raise UserError(
                f"{data_root} holds images of {len(unknown)} unknown classes, such as "
                f"{unknown[0]!r}: add them to metainfo.classes, or remove the images."
            )
        return [labels[name] for name in names]

    @property
    def groups(self) -> np.ndarray | None:
        """Shard index of each image; None without shards."""
        groups = vars(self.reader).get("groups")
        return None if groups is None else groups[: self.length]

    def image_labels(self) -> np.ndarray | None:
        """The label of each image (n,); None if it is unknown without reading all images."""
        labels = labels_of(self.reader)
        if labels is None:
            return None
        labels = np.asarray(labels[: self.length])
        return labels if self.labels is None else np.asarray(self.labels)[labels]

    def count_labels(self) -> list[int] | None:
        """Number of images of each class; None if it is unknown without reading all images."""
        labels = self.image_labels()
        if labels is None:
            return None
        return np.bincount(labels, minlength=len(self.metainfo["classes"])).tolist()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Any]:
        """Reads one image.

        Args:
            item: Its index, or (index, seed). With a seed, the transform's random numbers depend
                neither on the process that reads the image nor on the time.

        Returns:
            ``input``, ``target`` (label), ``path``, and ``unreadable``: (path, reason) of each
            image that could not be read. In a test an unreadable image has no ``input``.
        """
        index, seed = item if isinstance(item, tuple) else (item, None)
        path_of = partial(self.reader.filename, absolute=True)
        if self.test_mode:
            try:
                decoded, unreadable = self.decode(index), []
            except DAMAGED_FILE_ERRORS as error:
                reason = f"{type(error).__name__}: {error}"
                return dict(unreadable=[(path_of(index), reason)])
        else:
            decoded, index, unreadable = first_readable(self.decode, path_of, index, len(self))
        image, target = decoded
        with seeded_random(seed):
            tensor = self.transform(image)
        return dict(input=tensor, target=target, path=path_of(index), unreadable=unreadable)

    def decode(self, index: int) -> tuple[Image.Image, int]:
        """Reads and decodes an image; returns it in RGB, and its label."""
        file, label = self.reader[index]
        with file:
            image = self.decoder(file)
        return image, int(label if self.labels is None else self.labels[label])

    def augment(self, decoded: tuple[Image.Image, int]) -> torch.Tensor:
        """Transforms an image that :meth:`decode` returned, without a seed."""
        return self.transform(decoded[0])


@FUNCTIONS.register_module()
def collate_images(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Makes a batch of the samples that have an image.

    Returns:
        ``inputs`` (N, 3, H, W), ``targets`` (N,), ``paths`` and ``unreadable`` of all samples.
    """
    readable = [sample for sample in samples if "input" in sample]
    return dict(
        inputs=torch.stack([s["input"] for s in readable]) if readable else torch.empty(0, 3, 1, 1),
        targets=torch.tensor([s["target"] for s in readable], dtype=torch.long),
        paths=[s["path"] for s in readable],
        unreadable=[entry for sample in samples for entry in sample["unreadable"]],
    )


@DATA_SAMPLERS.register_module()
class ImageSampler(DefaultSampler):
    """Sampler whose epochs have whole steps, and which reads a few shards at a time.

    In training (``shuffle``) all processes get the same number of images. In a test each image is
    read exactly once, so some processes may get one image more.

    Args:
        dataset: A LabelledImages.
        shuffle: Whether to shuffle, as in training.
        seed: Seed of the run, equal in all processes.
        step_size: Images of one process in a step of the optimizer; an epoch has whole steps.
            ``--accumulate`` sets it, if the config has it.
        window: Number of shards whose images are shuffled together.
    """

    def __init__(
        self,
        dataset: LabelledImages,
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
        order = np.resize(order, self.total_size)  # repeats the first images if needed
        of_process = order[self.rank : self.total_size : self.world_size]
        return iter(of_process[: self.num_samples].tolist())

    def _order(self, generator: torch.Generator) -> np.ndarray:
        """All indices in a random order; with shards, shuffled within windows of shards."""
        groups = self.dataset.groups
        if groups is None:
            return torch.randperm(len(self.dataset), generator=generator).numpy()
        members = np.split(np.arange(len(groups)), np.flatnonzero(np.diff(groups)) + 1)
        shards = torch.randperm(len(members), generator=generator).tolist()
        parts = []
        for start in range(0, len(shards), self.window):
            indices = np.concatenate([members[i] for i in shards[start : start + self.window]])
            parts.append(indices[torch.randperm(len(indices), generator=generator).numpy()])
        return np.concatenate(parts)
