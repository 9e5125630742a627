"""The test sets beyond the validation set: which folders, which classes, which answers are right.

Index files of class subsets and ReaL's labels are timm's.
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
IMAGENET_22K = "imagenet-22k"  # lacks one class of the 1000, the teddy
REAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\b")


@dataclass(frozen=True)
class Suite:
    """A test set.

    Attributes:
        title: What papers call it.
        imagenet_only: Whether it needs a head of the 1000 ImageNet classes.
        subset: timm's list of the classes that are in it, among which the prediction is made.
        numbered: Whether folders are numbers of classes instead of their names.
        by_file: Whether the file's name, not the folder's, leads to the answers.
        corruptions: Corruptions, each a folder of five severities.
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
    """Labels of the classes that are in a suite, in increasing order; None for all."""
    if suite.subset is None:
        return None
    return torch.tensor([int(line) for line in _timm_file(suite.subset).split()])


def real_labels() -> list[list[int]]:
    """ReaL's answers to each validation picture, in the order of their numbers; some have none."""
    return json.loads(_timm_file("imagenet_real_labels.json"))


def real_number(path: str) -> int:
    """The place in :func:`real_labels` of a validation picture.

    Raises:
        UserError: For another name than ILSVRC2012_val_00000001 to 00050000.
    """
    found = REAL_NAME.match(Path(path).stem)
    if found is None or not 1 <= int(found[1]) <= 50000:
        raise UserError(
            f"{path}: ReaL's labels belong to the validation pictures by name, "
            "ILSVRC2012_val_00000001.JPEG to 00050000: keep the original names."
        )
    return int(found[1]) - 1


def folder_classes(suite: Suite, folder: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The folder name of each class, in the order of the labels, checked against the folder.

    Raises:
        UserError: When there is no such folder, or it has other class folders than the suite's.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: give that of {suite.title} with --data.")
    there = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if suite.by_file:
        return tuple(there) or ("",)  # answers go by file; pictures may lie without folders
    names = classes
    if suite.numbered and any(name.isdigit() for name in there):
        names = tuple(map(str, range(len(classes))))
    indices = subset_indices(suite)
    known = set(names if indices is None else (names[i] for i in indices.tolist()))
    if not there:
        raise UserError(f"{folder} holds no class folders: {_layout(suite)}.")
    if unknown := [name for name in there if name not in known]:
        if set(there) & known and names == class_names(IMAGENET_22K):
            print_log(f"{folder}: ImageNet-22K does not have {', '.join(unknown)}: left out.")
            return names
        whose = suite.title if suite.imagenet_only else "the checkpoint"
        raise UserError(
            f"{folder} has the folder {unknown[0]} ({len(unknown)} of its {len(there)} are like "
            f"that), which is none of the {len(known)} classes of {whose}: {_layout(suite)}."
        )
    return names


def corrupted_folder(root: Path, name: str, severity: int) -> Path:
    """The class folders of one corruption and severity, as the archives unpack.

    Raises:
        UserError: When they are not there.
    """
    labels = [str(severity)]
    if name in C_BAR_SEVERITIES:  # its folders are named by the scale of its code
        strength = C_BAR_SEVERITIES[name][SEVERITIES.index(severity)]
        labels = [f"{strength:.2f}", str(strength), *labels]
    # The archives of ImageNet-C are sometimes kept apart: blur/defocus_blur/1.
    for parent in (root / name, *sorted(root.glob(f"*/{name}"))):
        for label in labels:
            if (parent / label).is_dir():
                return parent / label
    raise UserError(
        f"There is no folder {root / name / labels[0]}: --data holds CORRUPTION/SEVERITY/CLASS/; "
        "choose what is there with --corruptions and --severities, or make corrupted pictures of "
        "a plain folder with --corrupt."
    )


def _layout(suite: Suite) -> str:
    if suite.numbered:
        return "folders 0 to 999, or the classes' names, are needed"
    return "one folder a class is needed, named like the checkpoint's classes"


def _timm_file(name: str) -> str:
    return (resources.files("timm.data") / "_info" / name).read_text(encoding="utf-8")
