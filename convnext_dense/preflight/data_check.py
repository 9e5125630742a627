"""The quick part before every run: pictures and labels are opened before a model is built.

A sample of each split, spread evenly; ``--scan`` opens all. What files and folders tell by their
names is checked before, where the config is fitted to the data.
"""

import contextlib
import io
import os
from collections.abc import Callable, Sequence

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DATASETS, TRANSFORMS

from convnext_dense.config.tree import datasets
from convnext_dense.data.coco.annotation_file import read_summary
from convnext_dense.data.coco.fit_config import annotation_path
from convnext_dense.data.image_scan import (
    LOADERS,
    Opened,
    Opener,
    Picture,
    PictureOpener,
    open_all,
    open_file,
    open_some,
    spread,
)
from convnext_dense.data.images import naming
from convnext_dense.data.seeded_random import drawing_from
from convnext_dense.errors import UserError

SAMPLE = 32  # pictures of a split
MORE = 512  # labels that are read where the first ones look wrong
SHOWN = 5
SPLITS = ("train", "val")
SKIPPING = "SkippedPicturesHook"


def check_data(cfg: Config, scan: bool = False) -> dict[str, list[Opened]]:
    """Opens pictures and labels of the training and validation data.

    Args:
        cfg: A resolved config.
        scan: Open all of them, in several processes.

    Returns:
        What was opened, by split.

    Raises:
        UserError: For pictures or labels that cannot be read or have another size than they
            should, for labels beyond the classes, and where ``reduce_zero_label`` contradicts them.
    """
    found: dict[str, list[Opened]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for data in datasets(cfg, split):
            check = next((check for fits, check in _KINDS if fits(data)), None)
            if check is not None:
                found[split] += check(cfg, data, scan, split == "train")
    return found


def _check_detection(cfg: Config, data: ConfigDict, scan: bool, _train: bool) -> list[Opened]:
    summary = read_summary(annotation_path(data))
    folder = os.path.join(data.data_root, data.get("data_prefix", {}).get("img", ""))
    pictures = [
        Picture(dict(img_path=os.path.join(folder, name)), size)
        for name, size in zip(summary.file_names, summary.sizes, strict=True)
    ]
    chosen = range(len(pictures)) if scan else spread(len(pictures), SAMPLE)
    opened = _open(Opener(cfg, data), [pictures[i] for i in chosen], scan, folder)
    _refuse_unreadable(opened, folder, len(pictures))
    _refuse_sizes([pictures[i] for i in chosen], opened, summary.path)
    _resize_thinnest(cfg, data, pictures)
    return opened


def _check_segmentation(cfg: Config, data: ConfigDict, scan: bool, train: bool) -> list[Opened]:
    dataset = _build(cfg, data)
    pictures = [Picture(dataset.get_data_info(index)) for index in range(len(dataset))]
    opener, folder = Opener(cfg, data), os.path.join(data.data_root, data.data_prefix.img_path)
    chosen = range(len(pictures)) if scan else spread(len(pictures), SAMPLE)
    opened = _open(opener, [pictures[i] for i in chosen], scan, folder)
    _refuse_unreadable(opened, folder, len(pictures))
    sizes = [one.size for one in opened]
    seen = [Picture(pictures[i].info, size) for i, size in zip(chosen, sizes, strict=True)]
    _resize_thinnest(cfg, data, seen)
    _refuse_labels(opened)
    if not train or opener.label is None or pictures[0].info["label_map"] is not None:
        return opened
    reduce_zero = pictures[0].info["reduce_zero_label"]
    classes = tuple(dataset.metainfo["classes"])
    if _looks_shifted(opened, len(classes), reduce_zero) and len(opened) < len(pictures):
        # A rare last class may be in the labels that were not read.
        more = sorted({*spread(len(pictures), MORE)} - {*chosen})
        opened += open_some(opener, [pictures[i] for i in more])
        _refuse_unreadable(opened, folder, len(pictures))
        _refuse_labels(opened)
    _refuse_zero(opened, classes, reduce_zero, str(opened[0].path))
    return opened


def _check_classification(cfg: Config, data: ConfigDict, scan: bool, _train: bool) -> list[Opened]:
    """A few pictures that cannot be read are skipped in a run; here too, up to the run's limit."""
    kind, root = DATASETS.get(data.type), data.data_root
    if scan:
        dataset = _build(cfg, data)
        opened = open_all(PictureOpener(dataset), range(len(dataset)), root)
    else:
        opened = open_some(open_file, kind.some_files(root, data.reader, SAMPLE))
    broken = [one for one in opened if one.unreadable]
    limits = [h.get("limit", 0) for h in cfg.get("custom_hooks", []) if h.get("type") == SKIPPING]
    if len(broken) > max(limits, default=0) or len(broken) == len(opened):
        _refuse_unreadable(opened, root, len(opened))
    for folder in sorted({os.path.dirname(one.path) for one in broken}):
        _refuse_unreadable_class(folder)
    for one in broken[:SHOWN]:
        print_log(f"{one.path} cannot be read and will be skipped ({one.unreadable}).")
    return opened


def _refuse_unreadable_class(folder: str) -> None:
    """Looks for a picture of a class that can be read, where one of the sample cannot."""
    found = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        found.append(open_file(os.path.join(folder, name)))
        if not found[-1].unreadable:
            return
    _refuse_unreadable(found, folder, len(found))


_KINDS: tuple[tuple[Callable[[ConfigDict], bool], Callable], ...] = (
    (lambda data: str(data.get("ann_file", "")).endswith("json"), _check_detection),
    (lambda data: "seg_map_path" in data.get("data_prefix", {}), _check_segmentation),
    (lambda data: "reader" in data, _check_classification),
)


def _build(cfg: Config, data: ConfigDict):
    with (
        DATASETS.switch_scope_and_registry(cfg.get("default_scope")) as registry,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        return registry.build({**data, "transform" if "reader" in data else "pipeline": []})


def _open(opener: Opener, pictures: Sequence[Picture], scan: bool, what: str) -> list[Opened]:
    return open_all(opener, pictures, what) if scan else open_some(opener, pictures)


def _refuse_unreadable(opened: Sequence[Opened], folder: str, total: int) -> None:
    broken = [one for one in opened if one.unreadable]
    if broken:
        raise UserError(
            f"{len(broken)} of {len(opened)} opened pictures of {folder} (it has {total}) cannot "
            f"be read: {_some([f'{one.path} ({one.unreadable})' for one in broken])}: copy them "
            f"again or leave them out{_hint(opened, total)}."
        )


def _refuse_sizes(chosen: Sequence[Picture], opened: Sequence[Opened], source: str) -> None:
    wrong = [
        f"{one.path} has {_size(one.size)} and not {_size(picture.size)}"
        + (" (is it turned by its EXIF entry?)" if one.size == picture.size[::-1] else "")
        for picture, one in zip(chosen, opened, strict=True)
        if one.size != picture.size
    ]
    if wrong:
        raise UserError(
            f"{len(wrong)} of {len(opened)} opened pictures have another size than {source} says, "
            f"so that its boxes would lie elsewhere: {_some(wrong)}: annotate the pictures as they "
            "are, or correct width and height with the boxes."
        )


def _resize_thinnest(cfg: Config, data: ConfigDict, pictures: Sequence[Picture]) -> None:
    """Resizes the picture whose sides differ most as the config does: a side may come to nothing.

    Raises:
        UserError: Names the picture.
    """
    used = (*LOADERS, "Resize")
    steps = [step for step in data.pipeline if str(step.get("type")).endswith(used)]
    thinnest = max(pictures, key=lambda picture: max(picture.size) / min(picture.size))
    with TRANSFORMS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
        chain = [registry.build(step) for step in steps]
    results = dict(img_path=thinnest.path)
    with drawing_from(0), naming(thinnest.path):
        for step in chain:
            results = step(results)


def _refuse_labels(opened: Sequence[Opened]) -> None:
    wrong = [one.wrong_label for one in opened if one.wrong_label]
    if len(wrong) == 1:
        raise UserError(wrong[0])
    if wrong:
        raise UserError(f"{len(wrong)} of {len(opened)} opened labels are wrong; {wrong[0]}")


def _looks_shifted(opened: Sequence[Opened], classes: int, reduce_zero: bool) -> bool:
    """Whether labels hold 0 to the last but one where 1 to the last is meant, all of them."""
    there = sum(one.indices for one in opened) > 0
    return reduce_zero and bool(there[:classes].all()) and not there[classes]


def _refuse_zero(
    opened: Sequence[Opened], classes: tuple[str, ...], reduce_zero: bool, example: str
) -> None:
    pixels, count = sum(one.labels for one in opened), len(classes)
    zeros = sum(one.indices for one in opened)[0] / max(1, pixels.sum())
    if not pixels[:-1].any():
        why = f"; with reduce_zero_label 0 is ignored ({zeros:.0%})" if reduce_zero else ""
        raise UserError(
            f"The {len(opened)} opened labels have no pixel of a class, such as that of {example}: "
            f"all are ignored{why}: mend the labels or the setting."
        )
    if _looks_shifted(opened, count, reduce_zero):
        raise UserError(
            f"reduce_zero_label counts the {count} classes from 1 and ignores 0, but the "
            f"{len(opened)} opened labels hold 0 to {count - 1} and never {count}: leave out "
            "--reduce-zero-label (reduce_zero_label=False), or name the class that label 0 is."
        )
    if not reduce_zero and not pixels[0] and pixels[1:count].all():
        print_log(
            f"No opened label holds 0 ({classes[0]!r}), and 1 to {count - 1} are there: where the "
            "first class is label 1, name the classes from there and give --reduce-zero-label."
        )


def _hint(opened: Sequence[Opened], total: int) -> str:
    return "" if len(opened) == total else "; --scan opens all"


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:SHOWN]) + (" ..." if len(items) > SHOWN else "")


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
