"""The test suites besides the validation set: folders, classes and correct answers.

The index files of class subsets and ReaL's labels come from timm.
"""

import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor

from convnext_dense.classification.readers import class_names
from convnext_dense.classification.robustness.corruption_tables import (
    ALEXNET_ERRORS,
    C_BAR_SEVERITIES,
    SEVERITIES,
)
from convnext_dense.errors import UserError

IMAGENET = "imagenet-1k"
IMAGENET_22K = "imagenet-22k"  # lacks one of the 1000 classes, the teddy
REAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\b")


@dataclass(frozen=True)
class Suite:
    """A test set.

    Attributes:
        title: Name in papers.
        imagenet_only: Whether it needs a classifier of the 1000 ImageNet classes.
        subset: timm's list of its classes; only these are compared in a prediction.
        numbered: Whether folders are named by class numbers instead of class names.
        by_file: Whether the answers belong to the file name instead of the folder name.
        corruptions: Corruptions; each is a folder of five severities.
    """

    title: str
    imagenet_only: bool = True
    subset: str | None = None
    numbered: bool = False
    by_file: bool = False
    corruptions: tuple[str, ...] = ()


SUITES = {
    "val": Suite("the validation set", imagenet_only=False),
    "v2": Suite("ImageNet-V2", numbered=True),
    "a": Suite("ImageNet-A", subset="imagenet_a_indices.txt"),
    "r": Suite("ImageNet-R", subset="imagenet_r_indices.txt"),
    "sketch": Suite("ImageNet-Sketch"),
    "real": Suite("ImageNet ReaL", by_file=True),
    "c": Suite("ImageNet-C", imagenet_only=False, corruptions=tuple(ALEXNET_ERRORS)),
    "cbar": Suite("ImageNet-C-bar", imagenet_only=False, corruptions=tuple(C_BAR_SEVERITIES)),
}


def is_imagenet(classes: tuple[str, ...]) -> bool:
    """Whether these are the 1000 classes of ImageNet in their usual order."""
    return classes == class_names(IMAGENET)


def subset_indices(suite: Suite) -> Tensor | None:
    """Labels of a suite's classes, in increasing order; None for all classes."""
    if suite.subset is None:
        return None
    return torch.tensor([int(line) for line in _timm_file(suite.subset).split()])


def real_labels() -> list[list[int]]:
    """ReaL's labels of each validation image, in the order of the images; some have none."""
    return json.loads(_timm_file("imagenet_real_labels.json"))


def real_number(path: str) -> int:
    """The index in :func:`real_labels` of a validation image.

    Raises:
        UserError: For another name than ILSVRC2012_val_00000001 to 00050000.
    """
    match = REAL_NAME.match(Path(path).stem)
    if match is None or not 1 <= int(match[1]) <= 50000:
        raise UserError(
            f"{path}: ReaL's labels belong to the names of the validation images, "
            "ILSVRC2012_val_00000001.JPEG to 00050000: keep the original names."
        )
    return int(match[1]) - 1


def folder_classes(suite: Suite, folder: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The folder name of each class, in the order of the labels; checks the folders.

    Raises:
        UserError: If the folder is missing, or has class folders that are not the suite's.
    """
    if not folder.is_dir():
        raise UserError(
            f"There is no folder {folder}: give the folder of {suite.title} with --data."
        )
    present = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if suite.by_file:
        return tuple(present) or ("",)  # answers belong to files; folders are optional
    names = classes
    if suite.numbered and any(name.isdigit() for name in present):
        names = tuple(map(str, range(len(classes))))
    indices = subset_indices(suite)
    known = set(names if indices is None else (names[i] for i in indices.tolist()))
    if not present:
        raise UserError(f"{folder} contains no class folders: {_layout(suite)}.")
    if unknown := [name for name in present if name not in known]:
        if set(present) & known and names == class_names(IMAGENET_22K):
            print_log(f"{folder}: {', '.join(unknown)} is left out: ImageNet-22K lacks it.")
            return names
        owner = suite.title if suite.imagenet_only else "the checkpoint"
        raise UserError(
            f"{folder} has the folder {unknown[0]} ({len(unknown)} of its {len(present)} are like "
            f"that), which is none of the {len(known)} classes of {owner}: {_layout(suite)}."
        )
    return names


def corrupted_folder(root: Path, name: str, severity: int) -> Path:
    """The class folders of one corruption and severity, as the archives unpack.

    Raises:
        UserError: If the folder is missing.
    """
    labels = [str(severity)]
    if name in C_BAR_SEVERITIES:  # its folder names use the scale of its code
        strength = C_BAR_SEVERITIES[name][SEVERITIES.index(severity)]
        labels = [f"{strength:.2f}", str(strength), *labels]
    # The archives of ImageNet-C may be in separate folders: blur/defocus_blur/1.
    for parent in (root / name, *sorted(root.glob(f"*/{name}"))):
        for label in labels:
            if (parent / label).is_dir():
                return parent / label
    raise UserError(
        f"There is no folder {root / name / labels[0]}: --data needs CORRUPTION/SEVERITY/CLASS/. "
        "Select existing folders with --corruptions and --severities, or corrupt the images of a "
        "plain folder with --corrupt."
    )


def _layout(suite: Suite) -> str:
    if suite.numbered:
        return "it needs folders 0 to 999, or folders with the class names"
    return "it needs a folder for each class, with the checkpoint's class names"


def _timm_file(name: str) -> str:
    return (resources.files("timm.data") / "_info" / name).read_text(encoding="utf-8")
