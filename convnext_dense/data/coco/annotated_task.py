"""What tasks of mmdet's models share: their ground truth is a file that names images."""

import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from convnext_dense.config.reading import add_import
from convnext_dense.data.coco.fit_config import image_folder
from convnext_dense.tasks import ClassCounts, Task


class AnnotatedTask(Task):
    """A task with annotation files.

    Attributes:
        unit: What is annotated, in the plural.
        unused: Why training leaves images out, beside their size.
        entries: In what a built dataset tells of an image: the list of annotations, and in each of
            them the class and whether it is ignored.
    """

    unit: str
    unused: str
    entries: tuple[str, str, str]

    @abstractmethod
    def file_names(self, dataset: Any) -> Sequence[str]:
        """The images that a dataset's annotation file names."""

    @abstractmethod
    def count_used(self, dataset: Any, classes: tuple[str, ...]) -> Mapping[str, int]:
        """How often each class occurs in what training uses of a dataset."""

    def image_paths(self, cfg: Any, dataset: Any) -> list[str]:
        """The files that the annotation file names."""
        folder = image_folder(dataset)
        return [os.path.join(folder, name) for name in self.file_names(dataset)]

    def trial_batch(self, cfg: Any, images: int, size: tuple[int, int]) -> dict[str, Any]:
        """See :func:`convnext_dense.data.trial_objects.trial_batch`."""
        from convnext_dense.data.trial_objects import trial_batch  # needs the toolbox

        return trial_batch(cfg, images, size)

    def use_channels(self, cfg: Any) -> None:
        """mmdet normalises 1 or 3 channels alone."""
        cfg.model.data_preprocessor.type = "AnyChannelsPreprocessor"
        add_import(cfg, "convnext_dense.detection.any_channels")

    def classes_of_images(self, dataset: Any) -> list[set[int]]:
        """Classes of the annotations that are trained on."""
        annotations, label, ignored = self.entries
        return [
            {one[label] for one in info[annotations] if not one[ignored]}
            for info in map(dataset.get_data_info, range(len(dataset)))
        ]

    def count_unused_images(self, dataset: Any, used: int) -> str:
        """mmdet leaves out images with nothing to learn from, and small ones."""
        listed = len(self.file_names(dataset))
        if listed <= used:
            return ""
        return f"{listed - used} of {listed} left out: {self.unused}, or too small"

    def count_classes(self, cfg: Any, dataset: Any, opened: Sequence[Any]) -> ClassCounts:
        """Annotations that training uses."""
        names = tuple(dataset.metainfo["classes"])
        counts = Counter(dict.fromkeys(names, 0))
        for data in self.datasets(cfg, "train"):
            counts.update(self.count_used(data, names))
        return ClassCounts(self.unit, dict(counts))
