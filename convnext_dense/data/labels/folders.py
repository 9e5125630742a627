"""Folders of images and of label images: their endings, and whether each has its label.

Files are listed as mmsegmentation lists them: sub-folders included, hidden files left out.
"""

from codecs import BOM_UTF8
from collections import Counter
from pathlib import Path

from mmengine.fileio import list_dir_or_file

from convnext_dense.data.images import IMAGE_SUFFIXES
from convnext_dense.data.text_files import read_text
from convnext_dense.errors import UserError

LABELS = (".png", ".bmp", ".tif", ".tiff")  # without loss
TRIED = 20  # images whose label is looked for by name


def image_suffix(folder: Path) -> str:
    """The one ending of a folder's images, as it is written there.

    Raises:
        UserError: When there is no image, or endings differ: mmsegmentation reads one ending and
            would leave out the other images without a word.
    """
    names = list_files(folder)
    endings = Counter(Path(name).suffix for name in names)
    endings = Counter({end: n for end, n in endings.items() if end.lower() in IMAGE_SUFFIXES})
    if not endings:
        raise UserError(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
    if len(endings) > 1:
        counts = ", ".join(f"{count} {ending}" for ending, count in endings.most_common())
        raise UserError(
            f"{folder} holds images with several endings ({counts}): convert or rename them to one."
        )
    return next(iter(endings))


def label_suffix(images: Path, labels: Path, img_suffix: str) -> str:
    """What follows an image's name in the name of its label: ``.png``, ``_L.png`` ...

    Raises:
        UserError: When no image has a label, when several labels fit each image, or when
            labels are stored with loss.
    """
    stems = [
        name.removesuffix(img_suffix) for name in list_files(images) if name.endswith(img_suffix)
    ]
    names = set(list_files(labels))
    found: set[str] = set()
    for stem in sorted(stems)[:TRIED]:
        found |= {name[len(stem) :] for name in names if name.startswith(stem)}
    served = Counter({end: sum(stem + end in names for stem in stems) for end in found})
    best = {end for end, count in served.items() if count == max(served.values())}
    lossless = sorted(end for end in best if end.lower().endswith(LABELS))
    lossless = [end for end in lossless if end.lower() in LABELS] or lossless  # the same name
    if not lossless:
        raise UserError(
            f"{labels} holds no label for the images of {images}: each image needs one of its "
            f"name, stored without loss ({', '.join(LABELS)})."
        )
    if len(lossless) > 1:
        raise UserError(
            f"{labels} holds several files for each image ({', '.join(lossless)}): name the "
            "ending of the labels with --cfg-options train_dataloader.dataset.seg_map_suffix=, and "
            "for val_dataloader and test_dataloader."
        )
    return lossless[0]


def check_pairs(images: Path, labels: Path, img_suffix: str, seg_map_suffix: str) -> None:
    """Every image has its label.

    Raises:
        UserError: When there is no image, or one without label.
    """
    stems = [
        name.removesuffix(img_suffix) for name in list_files(images) if name.endswith(img_suffix)
    ]
    if not stems:
        raise UserError(
            f"{images} holds no image *{img_suffix}: name the ending of the images with "
            "--cfg-options train_dataloader.dataset.img_suffix=.png (or another)."
        )
    there = set(list_files(labels))
    missing = sorted(stem + img_suffix for stem in stems if stem + seg_map_suffix not in there)
    if missing:
        raise UserError(
            f"{len(missing)} of {len(stems)} images of {images} have no label in {labels} "
            f"(*{seg_map_suffix}): {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}."
        )


def check_list(
    file: Path, images: Path, labels: Path, img_suffix: str, seg_map_suffix: str
) -> None:
    """Every name of a split list has its image and its label.

    A list has one name a line, relative to the folders and without ending, as mmsegmentation reads
    it.

    Raises:
        UserError: When there is no such file, no name in it, or a name without image or label.
    """
    if not file.is_file():
        raise UserError(f"There is no list of images {file} (ann_file).")
    if file.read_bytes().startswith(BOM_UTF8):  # mmsegmentation would take it for a letter
        raise UserError(f"{file} begins with a byte order mark: save it as UTF-8 without one.")
    names = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    if not names:
        raise UserError(f"{file} names no image (ann_file): it needs one name a line.")
    for folder, suffix in ((images, img_suffix), (labels, seg_map_suffix)):
        there = set(list_files(folder))
        missing = [name for name in names if name + suffix not in there]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(names)} names of {file} have no file in {folder} (name + "
                f"{suffix}): {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}"
                f"{_explain_name(missing[0], suffix, there)}."
            )


def _explain_name(name: str, suffix: str, there: set[str]) -> str:
    """How a name of a list is to be written, where another way of writing it finds a file."""
    base = Path(name).name
    if base + suffix in there:
        return ": write the names relative to the folder"
    if Path(base).stem + suffix in there:
        return ": write the names without ending, relative to the folder"
    return ""


def labels_without_image(
    images: Path, labels: Path, img_suffix: str, seg_map_suffix: str
) -> list[str]:
    """The label files whose image is not there, which are left out."""
    there = set(list_files(images))
    named = sorted(name for name in list_files(labels) if name.endswith(seg_map_suffix))
    return [name for name in named if name.removesuffix(seg_map_suffix) + img_suffix not in there]


def list_files(folder: Path) -> list[str]:
    """The files of a folder and its sub-folders relative to it, hidden ones left out."""
    return list(list_dir_or_file(str(folder), list_dir=False, recursive=True))
