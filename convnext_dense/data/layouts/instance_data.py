"""Folders whose label images tell objects apart, read split by split into COCO's form."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from convnext_dense.data.layouts.instances import (
    CITYSCAPES_THINGS,
    LabelObject,
    cityscapes_objects,
    components,
    labels_to_coco,
    mapillary_objects,
    voc_objects,
)
from convnext_dense.data.layouts.known.public import mapillary_labels
from convnext_dense.data.layouts.layout import ALL, Layout, Pair, child
from convnext_dense.data.layouts.meaning import settle_meaning
from convnext_dense.data.layouts.recognise import recognise
from convnext_dense.data.own.own_data import OwnData
from convnext_dense.errors import UserError

BACKGROUND = "background"
Reader = Callable[[Path], Iterable[LabelObject]]
Found = tuple[dict[Path, Path], Reader, tuple[str, ...]]


def read_instances(
    root: Path, by_components: bool = False, classes: Path | None = None
) -> dict[str, dict]:
    """Each split of a folder of label images in COCO's form; ``all`` where it is not divided.

    Args:
        root: The folder, in a layout of :func:`convnext_dense.data.layouts.recognise.recognise`.
        by_components: Each connected area of a class is an object.
        classes: Text file of class names, for components.

    Raises:
        UserError: For labels that tell no objects apart, unless ``by_components``.
    """
    layout = recognise(root)
    every = [pair for pairs in layout.splits.values() for pair in pairs]
    found = _components(layout, every, classes) if by_components else _instances(layout, every)
    files, objects, names = found
    return {
        split: labels_to_coco([(image, files[label]) for image, label in pairs], names, objects)
        for split, pairs in layout.splits.items()
    }


def _instances(layout: Layout, pairs: list[Pair]) -> Found:
    """For each label image the file that tells objects apart, how it is read, and the classes."""
    for find in (_cityscapes, _voc, _mapillary):
        if (found := find(layout, pairs)) is not None:
            missing = [path for path in found[0].values() if not path.is_file()]
            if missing:
                raise UserError(
                    f"{len(missing)} of {len(pairs)} files that tell objects apart are missing, "
                    f"the first is {missing[0]}: add them, or take each connected area of a class "
                    "as an object with --components."
                )
            return found
    raise UserError(
        f"The label images of {layout.folders[0]} tell no objects apart: looked for Cityscapes' "
        "*_instanceIds.png, VOC's SegmentationObject and Mapillary's instances. With --components, "
        "each connected area of a class becomes an object."
    )


def _cityscapes(layout: Layout, pairs: list[Pair]) -> Found | None:
    if layout.name != "cityscapes":
        return None
    files = {}
    for _, label in pairs:
        kind = label.stem.rsplit("_", 1)[-1]
        files[label] = label.with_name(label.name.replace(kind, "instanceIds"))
    if not any(path.is_file() for path in files.values()):
        return None
    return files, cityscapes_objects, tuple(CITYSCAPES_THINGS.values())


def _voc(layout: Layout, pairs: list[Pair]) -> Found | None:
    folder = child(layout.folders[0], "SegmentationObject") if layout.name == "voc" else None
    if folder is None:
        return None
    names = _named(layout, pairs)
    files = {label: folder / label.name for _, label in pairs}
    classes = {file: label for label, file in files.items()}
    return files, lambda file: voc_objects(file, classes[file], names), names[1:]


def _mapillary(layout: Layout, pairs: list[Pair]) -> Found | None:
    if layout.name != "mapillary":
        return None
    files = {label: label.parent.parent / "instances" / label.name for _, label in pairs}
    labels = mapillary_labels(Path(layout.meaning.source))
    names = {n: name for n, (name, label) in enumerate(labels) if label.get("instances")}
    return files, partial(mapillary_objects, names=names), tuple(names.values())


def _components(layout: Layout, pairs: list[Pair], classes: Path | None) -> Found:
    names = _named(layout, pairs, classes)
    named: Mapping[int, str] = {
        label: name
        for label, name in enumerate(names, start=int(layout.meaning.reduce_zero_label))
        if name.lower() != BACKGROUND
    }
    files = {label: label for _, label in pairs}
    return files, partial(components, names=named), tuple(named.values())


def _named(layout: Layout, pairs: list[Pair], classes: Path | None = None) -> tuple[str, ...]:
    """The class names of the labels, which must be indices."""
    own = OwnData(None, {ALL: (None, layout.folders[0])}, classes=classes)
    meaning = settle_meaning(own, layout, pairs)
    if meaning.classes is None:
        raise UserError(
            f"There are no class names for {layout.folders[0]}: write them into a classes.txt "
            "there, one a line in the order of the labels."
        )
    if meaning.values is not None or meaning.colours is not None:
        raise UserError(
            f"The label images of {layout.folders[0]} hold values or colours of "
            f"{meaning.source} and no indices, from which no objects are made."
        )
    return meaning.classes
