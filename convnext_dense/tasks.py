"""A task: what detection, segmentation, classification and pretraining bring to one engine.

The engine, the checks before a run and the commands ask the task of a config; none of them knows an
annotation file or a label image. Each task's object stands in its own package and is imported when
a config needs it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from convnext_dense.errors import UserError


@dataclass(frozen=True)
class TaskEntry:
    """Where a task is found.

    Attributes:
        name: ``detection``, ``segmentation``, ``panoptic``, ``classification`` or
            ``self_supervised``.
        scope: mmengine's scope of its configs (``default_scope``). Of two tasks with one scope the
            first is meant, unless the config names the other by ``task``.
        toolbox: The package it needs beside this one; the extra of ``pip install`` that brings it
            has the task's name.
        headline: The figures that a test prints last, without their prefix.
    """

    name: str
    scope: str
    toolbox: str | None
    headline: tuple[str, ...]

    def load(self) -> "Task":
        """The task itself; imports its package."""
        return import_module(f"convnext_dense.{self.name}.task").TASK


ENTRIES = (
    TaskEntry("detection", "mmdet", "mmdet", ("bbox_mAP", "segm_mAP")),
    TaskEntry("segmentation", "mmseg", "mmseg", ("mIoU",)),
    TaskEntry("panoptic", "mmdet", "mmdet", ("PQ",)),
    TaskEntry("classification", "mmengine", None, ("top1", "top5", "top1_ema", "top5_ema")),
    TaskEntry("self_supervised", "mmengine", None, ()),
)
HEADLINE = tuple(name for entry in ENTRIES for name in entry.headline)
OF_AVERAGE = "_ema"  # ends the names of what was measured on the averaged weights


def entry_of(cfg: Mapping[str, Any]) -> TaskEntry | None:
    """The entry of a config's task; None for another scope."""
    if named := cfg.get("task"):
        return next((entry for entry in ENTRIES if entry.name == named), None)
    scope = cfg.get("default_scope") or "mmengine"
    return next((entry for entry in ENTRIES if entry.scope == scope), None)


def check_predicts(cfg: Mapping[str, Any], source: str) -> None:
    """Refuses a backbone that was pretrained without labels, where a whole model is needed.

    Raises:
        UserError: Says what can be done with it.
    """
    entry = entry_of(cfg)
    if entry is not None and not entry.headline:
        raise UserError(
            f"{source} is a backbone pretrained without labels, and predicts nothing: train a "
            "detector or segmentor from it with --backbone-weights, or export its feature maps "
            "with --part backbone."
        )


def load_task(name: str) -> "Task":
    """The task of a name."""
    return next(entry for entry in ENTRIES if entry.name == name).load()


def task_of(cfg: Mapping[str, Any]) -> "Task":
    """The task of a config; :class:`OtherTask` for a scope that this project does not know."""
    entry = entry_of(cfg)
    return entry.load() if entry else OtherTask()


class Task(ABC):
    """What a task brings. Configs are mmengine's, datasets their ``dict`` in a data loader."""

    name: str
    no_views = ""  # why results of several views cannot be merged, for the message
    fits_schedule = True  # to the size of own data; False: the recipe counts epochs, which stay

    # A config and its data

    @abstractmethod
    def datasets(self, cfg: Any, split: str) -> list[Any]:
        """The datasets of a split (``train``, ``val``, ``test``) that this task can read."""

    def prepare_own_data(self, own_data: Any) -> Any:
        """Own data in the layout that the task's dataset reads: converted, mended, divided.

        Args:
            own_data: A :class:`convnext_dense.data.own.own_data.OwnData` as the flags name it.

        Returns:
            One that has a source for each of its ``splits``; files that were made lie in its
            ``folder``.

        Raises:
            UserError: For data that cannot be read, or whose meaning would be guessed.
        """
        return own_data

    def use_own_data(
        self, dataset: Any, images: str, truth: str, own_data: Any, options: Mapping[str, Any]
    ) -> None:
        """Puts a user's images and ground truth into a dataset of a config.

        Args:
            dataset: The dataset; its ``data_root`` is set already.
            images, truth: Folder of images, and annotation file or folder of label images, relative
                to ``data_root``.
            own_data: A :class:`convnext_dense.data.own.own_data.OwnData`.
            options: ``--cfg-options`` below this dataset, without its prefix.
        """
        raise NotImplementedError

    @abstractmethod
    def fit_config(
        self, cfg: Any, splits: Sequence[str], classes: tuple[str, ...] | None = None
    ) -> None:
        """Sets the class names and the heads' number of classes from the data of some splits.

        Args:
            cfg: A config whose datasets have full paths; changed in place.
            splits: The splits whose data must be there.
            classes: The class names that a checkpoint was trained with.

        Raises:
            UserError: For data that is missing or does not fit.
        """

    @abstractmethod
    def assume_classes(self, cfg: Any) -> None:
        """Gives the heads a number of classes without reading data: to look at a model."""

    def fit_to_checkpoint(
        self,
        cfg: Any,
        content: Mapping[str, Any],
        source: str,
        classes: tuple[str, ...] | None = None,
    ) -> None:
        """Fits the model of a config to a checkpoint: its branches, and its classes if given."""
        return  # by default nothing

    def image_paths(self, cfg: Any, dataset: Any) -> list[str]:
        """The image files of a dataset of :meth:`datasets`, once the config was fitted."""
        return []

    def listed_images(self, cfg: Any, dataset: Any) -> list[str]:
        """All of these files where they are listed already; empty where that would take long."""
        return self.image_paths(cfg, dataset)

    def use_channels(self, cfg: Any) -> None:
        """Takes what knows images of other channels than three, where the config's does not."""
        return  # by default nothing

    def keep_scores(self, cfg: Any, split: str | None) -> None:
        """Keeps in results only what the evaluators of a split read; None: no evaluator does."""
        return  # by default nothing

    def augmentation_steps(self, cfg: Any, choice: str) -> list[dict[str, Any]]:
        """The steps of a choice of ``--augment``, between loading and packing of an image.

        Args:
            cfg: A config that was fitted to its data; what registers the steps is imported.
            choice: One of ``AUGMENT`` in ``cli/shared/finetune_arguments.py``, but ``recipe``.

        Raises:
            UserError: For a choice that is not made for this task, or for this data.
        """
        raise UserError(
            f"--augment {choice} is for detection and segmentation, and this config trains "
            f"{self.name}: leave it out."
        )

    def classes_of_images(self, dataset: Any) -> list[set[int]]:
        """The classes of each image of a training dataset, to show rare ones more often.

        Args:
            dataset: The dataset as it is built, with its pipeline.

        Raises:
            UserError: Where they are not known.
        """
        raise UserError(f"--balance does not know the classes of {self.name}: leave it out.")

    # Before a run

    def trial_batch(self, cfg: Any, images: int, size: tuple[int, int]) -> dict[str, Any]:
        """A batch made up for a trial of the memory, as large as one of real data may be.

        Args:
            cfg: A config that was fitted to its data.
            images: How many.
            size: Height and width of each in pixels.

        Returns:
            The arguments of the model's ``forward``, on the CPU: normalised images, ground truth.

        Raises:
            UserError: For a task that does not know them.
        """
        raise UserError(
            f"--fit-memory cannot make up batches of {self.name}: leave it out, and choose the "
            "batch with --cfg-options train_dataloader.batch_size=N."
        )

    def check_images(self, cfg: Any, dataset: Any, every: bool, training: bool) -> list[Any]:
        """Opens images and ground truth of a dataset.

        Args:
            cfg: A resolved config.
            dataset: One of :meth:`datasets`.
            every: Open all of them instead of a sample.
            training: Whether the dataset is trained on.

        Returns:
            One :class:`convnext_dense.data.image_scan.OpenedImage` each.

        Raises:
            UserError: For images or ground truth that cannot be used.
        """
        return []

    def remarks(self, cfg: Any, split: str, opened: Sequence[Any]) -> list[str]:
        """What is odd in a split's data but can be trained or evaluated on, a sentence each.

        Args:
            cfg: A config that was fitted to its data.
            split: ``train``, ``val`` or ``test``.
            opened: What :meth:`check_images` returned of it; empty where nothing was opened.
        """
        return []

    def describe_dataset(self, dataset: Any) -> str:
        """A dataset in a line."""
        return dataset.data_root

    def count_unused_images(self, dataset: Any, used: int) -> str:
        """Why fewer images are trained on than there are; empty where all are."""
        return ""

    def count_classes(self, cfg: Any, dataset: Any, opened: Sequence[Any]) -> "ClassCounts | None":
        """How often each class occurs in the training data.

        Args:
            cfg: A resolved config.
            dataset: The training dataset as it is built.
            opened: What :meth:`check_images` returned of the training data.
        """
        return None

    # Looking at data

    def data_browser(self) -> Any:
        """A :class:`convnext_dense.browse.samples_page.DataBrowser`; None where there is none."""
        return None

    def draw_result(self, visualizer: Any, name: str, sample: Any, step: int) -> None:
        """Draws what a model says of an image, the ground truth beside it, where the task can.

        Args:
            visualizer: The config's, which knows the dataset's class names and colours.
            name: Of the drawing.
            sample: One of the model's outputs of a validation or a test.
            step: Iteration of the drawing.

        Raises:
            UserError: When the image is not a file that can be read.
        """
        return  # by default nothing


class OtherTask(Task):
    """A config of another toolbox: it is trained as it is, and its data is its own matter."""

    name = "another task"

    def datasets(self, cfg: Any, split: str) -> list[Any]:
        """None that could be read."""
        return []

    def fit_config(self, cfg: Any, splits: Sequence[str], classes=None) -> None:
        """Changes nothing."""

    def assume_classes(self, cfg: Any) -> None:
        """Changes nothing."""


@dataclass(frozen=True)
class ClassCounts:
    """How often each class occurs.

    Attributes:
        what: The unit: ``instances``, ``pixels``, ``images``.
        counts: By class name.
        as_shares: Whether shares of the sum say more than counts.
        note: What else is to be said, such as the share of ignored pixels.
    """

    what: str
    counts: Mapping[str, int]
    as_shares: bool = False
    note: str = ""
