"""Images and their label images by the common stem of their names.

``a.jpg`` belongs to ``a.png``, ``a_mask.png``, ``a.jpg.png``; ``x_leftImg8bit.png`` to
``x_gtFine_labelIds.png``; ``image_1.jpg`` to ``mask_1.png``. What follows the common stem begins
with a separator, so that ``a_1.jpg`` is not taken for the image of ``a_10.png``.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from os.path import commonprefix
from pathlib import Path

from convnext_dense.data.images import IMAGE_SUFFIXES
from convnext_dense.data.labels.folders import LABELS, list_files
from convnext_dense.data.layouts.layout import Pair
from convnext_dense.errors import UserError

SEPARATORS = "_-. "
SHOWN = 5


def images_in(folder: Path) -> list[str]:
    """The images of a folder and its sub-folders, whatever their endings, relative to it."""
    return _with_ending(folder, IMAGE_SUFFIXES)


def labels_in(folder: Path) -> list[str]:
    """The files of a folder that are stored without loss, relative to it."""
    return _with_ending(folder, LABELS)


def pair_folders(
    images: Path, labels: Path, suffix: str | None = None, partial: bool = False
) -> list[Pair]:
    """Every image of a folder with its label image of another folder, or of the same one.

    Args:
        images, labels: The folders.
        suffix: What follows the common stem in the names of the labels, with their ending; None
            finds it.
        partial: Leave out images without a label, where a list names what is used.

    Raises:
        UserError: For an image without a label, and where several labels fit each image.
    """
    if images.resolve() == labels.resolve():
        return _pair_one_folder(images, suffix, partial)
    pictures = images_in(images)
    if not pictures:
        raise UserError(f"{images} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
    names = [name for name in labels_in(labels) if name.endswith(suffix or "")]
    found = pair_names(pictures, names, images, labels, partial)
    return [(images / image, labels / label) for image, label in found]


def holds_pairs(folder: Path) -> bool:
    """Whether a folder holds images with their labels beside them."""
    return bool(_tails(images_in(folder), set(labels_in(folder))))


def unused_labels(pairs: Sequence[Pair], labels: Path) -> list[str]:
    """The label files that have no image: those that end as the used ones do."""
    used = {label for _, label in pairs}
    tails = {_tail(image, label) for image, label in pairs}
    names = [name for name in labels_in(labels) if labels / name not in used]
    return [name for name in names if any(tail and name.endswith(tail) for tail in tails)]


def pair_names(
    pictures: Sequence[str],
    names: Sequence[str],
    images: Path,
    labels: Path,
    partial: bool = False,
) -> list[tuple[str, str]]:
    """Pairs of names; see :func:`pair_folders`."""
    _refuse_doubled(pictures, images)
    best: dict[str, str] = {}
    for stems in _ways_of_cutting(pictures, names):
        served = _one_each(_match(*stems), labels)
        if len(served) > len(best):
            best = served
        if len(best) == len(pictures):
            break
    _refuse_unpaired(pictures, best, names, images, labels, partial)
    return sorted(best.items())


def _ways_of_cutting(
    pictures: Sequence[str], names: Sequence[str]
) -> Iterable[tuple[dict[str, str], dict[str, str]]]:
    """Stems of images and of labels, from the most to the least literal way of reading names."""
    image_stems = {name: _stem(name) for name in pictures}
    label_stems = {name: name for name in names}
    yield image_stems, label_stems
    end = _common_words([stem[::-1] for stem in image_stems.values()])
    if end:  # _leftImg8bit
        cut = {name: stem[: -len(end)] for name, stem in image_stems.items()}
        yield cut, label_stems
    flat = [{name: Path(stem).name for name, stem in s.items()} for s in (image_stems, label_stems)]
    if all(len(set(stems.values())) == len(stems) for stems in flat):
        yield flat[0], flat[1]  # other sub-folders
    starts = [_common_words(stems.values()) for stems in flat]
    if any(starts):  # image_ and mask_
        yield tuple(
            {name: stem[len(start) :] for name, stem in stems.items()}
            for stems, start in zip(flat, starts, strict=True)
        )


def _common_words(texts: Iterable[str]) -> str:
    """The common beginning of texts, up to its last separator."""
    texts = list(texts)
    start = commonprefix(texts) if len(texts) > 1 else ""
    return start[: max(start.rfind(mark) for mark in SEPARATORS) + 1]


def _match(image_stems: dict[str, str], label_names: dict[str, str]) -> dict[str, dict[str, str]]:
    """For each image its labels by what follows the stem: ``{image: {tail: label}}``.

    A label goes to the image of the longest stem that it begins with.
    """
    images = {stem: name for name, stem in image_stems.items()}
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for label, name in label_names.items():
        for end in range(len(name) - 1, 0, -1):
            stem = name[:end]
            if (name[end] in SEPARATORS or stem[-1] in SEPARATORS) and stem in images:
                found[images[stem]][name[end:]] = label
                break
    return found


def _one_each(found: dict[str, dict[str, str]], labels: Path) -> dict[str, str]:
    """One label for each image: of several, the one whose tail serves most images.

    Raises:
        UserError: Where several tails serve equally many.
    """
    served = Counter(tail for tails in found.values() for tail in tails)
    chosen = {}
    for image, tails in found.items():
        most = max(served[tail] for tail in tails)
        best = sorted(tail for tail in tails if served[tail] == most)
        best = [tail for tail in best if tail.lower() in LABELS] or best  # the same name
        if len(best) > 1:
            raise _several_labels(labels, best)
        chosen[image] = tails[best[0]]
    return chosen


def _refuse_unpaired(
    pictures: Sequence[str],
    best: dict[str, str],
    names: Sequence[str],
    images: Path,
    labels: Path,
    partial: bool,
) -> None:
    if not best:
        there = f"it holds {_some(names)}" if names else "it holds no such file"
        raise UserError(
            f"{labels} holds no label for the images of {images}: each image needs one of its "
            f"name, stored without loss ({', '.join(LABELS)}); {there}."
        )
    missing = sorted(set(pictures) - set(best))
    if missing and not partial:
        example = next(iter(best.items()))
        raise UserError(
            f"{len(missing)} of {len(pictures)} images of {images} have no label in {labels}, as "
            f"{example[0]} has {example[1]}: {_some(missing)}: label them, move them away, or name "
            "those to use with --train-list and --val-list."
        )


def _refuse_doubled(pictures: Sequence[str], images: Path) -> None:
    """Two images of one stem would share a label."""
    counts = Counter(map(_stem, pictures))
    doubled = [name for name in pictures if counts[_stem(name)] > 1]
    if doubled:
        raise UserError(
            f"{images} holds images of one name with several endings, which would share a label: "
            f"{_some(doubled)}: move away one of each."
        )


def _several_labels(labels: Path, tails: Sequence[str]) -> UserError:
    return UserError(
        f"{labels} holds several files for each image ({', '.join(tails)}): name the ending of the "
        "labels with --cfg-options train_dataloader.dataset.seg_map_suffix=, and for "
        "val_dataloader and test_dataloader."
    )


def _pair_one_folder(folder: Path, suffix: str | None, partial: bool) -> list[Pair]:
    """Images and labels that lie in one folder: ``a.jpg`` with ``a_mask.png`` or ``a.png``."""
    names = images_in(folder)
    tails = _tails(names, set(labels_in(folder))) if suffix is None else Counter({suffix: 1})
    if not tails:
        raise UserError(
            f"{folder} holds images without labels: a label has the name of its image and another "
            f"ending, as a.jpg and a_mask.png; found {_some(names) or 'no image'}. Folders of "
            "their own are named by --images and --labels."
        )
    most = max(tails.values())
    best = sorted(tail for tail, count in tails.items() if count == most)
    if len(best) > 1:
        raise _several_labels(folder, best)
    labels = _labels_ending(names, best[0])
    pictures = [name for name in names if name not in labels]
    found = pair_names(pictures, sorted(labels), folder, folder, partial)
    return [(folder / image, folder / label) for image, label in found]


def _tails(names: Sequence[str], lossless: set[str]) -> Counter:
    """What follows the name of an image in those of labels beside it, and how often.

    Numbers are none: ``a_2.png`` is another image.
    """
    files = Counter(_stem(name) for name in names)
    tails: Counter = Counter()
    for name in lossless:
        for end in range(len(name) - 1, 0, -1):
            if name[end] not in SEPARATORS or files[name[:end]] <= (name[:end] == _stem(name)):
                continue
            if not name[end + 1 : name.rfind(".")].isdecimal():
                tails[name[end:]] += 1
            break
    return tails


def _labels_ending(names: Sequence[str], tail: str) -> set[str]:
    """The labels of a folder that holds images too."""
    ending = {name for name in names if name.endswith(tail)}
    if tail.lower() not in LABELS:
        return ending
    others = {_stem(name) for name in names if name not in ending}  # a.jpg and a.png
    return {name for name in ending if _stem(name) in others}


def _tail(image: Path, label: Path) -> str:
    """What follows the common stem in the name of a label."""
    return label.name[len(commonprefix([image.stem, label.name])) :]


def _stem(name: str) -> str:
    """A name with its sub-folders, without its ending."""
    return name[: -len(Path(name).suffix)]


def _with_ending(folder: Path, endings: Sequence[str]) -> list[str]:
    return sorted(name for name in list_files(folder) if name.lower().endswith(tuple(endings)))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")
