"""Pascal VOC: an XML file for each image, lists of names in ImageSets, masks as label images.

VOC's own pixels begin at 1, and its boxes include their last pixel; tools such as LabelImg and CVAT
write distances from the corner of the image. The former is assumed where the files are VOC's own.
"""

from pathlib import Path
from xml.etree.ElementTree import Element

from convnext_dense.data.formats.content import ContentBuilder
from convnext_dense.data.formats.image_files import ImageIndex, refuse_missing
from convnext_dense.data.formats.readers.voc_masks import object_masks
from convnext_dense.data.formats.readers.xml_files import number, read_xml, root_tag, text
from convnext_dense.data.formats.request import Request
from convnext_dense.data.formats.splits import NAMES, choose, split_folders
from convnext_dense.data.images import IMAGE_SUFFIXES
from convnext_dense.data.text_files import read_text
from convnext_dense.errors import UserError

LOOKS_FOR = "XML files of <annotation>, in Annotations/ or beside the images (Pascal VOC)"
ANNOTATIONS = ("Annotations", "annotations", "annotations/xmls", "xmls", "")
IMAGES, OBJECTS = ("JPEGImages", "images"), "SegmentationObject"
CLASSES = "classes.txt"
LISTS = ("ImageSets/Main", "ImageSets", "ImageSets/Segmentation")
INSTEAD = {"train": "trainval"}  # the list that takes the place of one that is not there
PIXELS = {
    True: "as VOC's own: their first pixel is 1",
    False: "as those of annotation tools: their first pixel begins at 0",
}
ONE_BASED = "the voc20"  # VOC's own <database> begins so: The VOC2007 Database
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def fits(path: Path) -> bool:
    """Whether a path is a VOC file, or a folder of some."""
    if path.is_file():
        return path.suffix.lower() == ".xml" and root_tag(path) == "annotation"
    return _inside(path) is not None or bool(_folders(path))


def own_splits(path: Path) -> tuple[str, ...]:
    """The splits that ImageSets lists, or that folders are named as."""
    return tuple(_lists(path) or _folders(path))


def read(request: Request) -> ContentBuilder:
    """The images and objects of a split.

    Raises:
        UserError: Names the file and the entry of what cannot be read.
    """
    folder, files = _files(request)
    if not files:
        raise UserError(f"{request.path} holds no XML file of <annotation>.")
    parsed = {file: read_xml(file) for file in files}
    for file, root in parsed.items():
        if root.tag != "annotation":
            raise UserError(f"{file} is no VOC file: it begins with <{root.tag}>.")
    builder = ContentBuilder(_class_list(folder))
    index = ImageIndex([request.images] if request.images else _image_folders(folder))
    images = {file: _find_image(index, file, root) for file, root in parsed.items()}
    missing = [text(parsed[f], "filename") or f.stem for f, image in images.items() if not image]
    refuse_missing(missing, len(parsed), request.path, index.folders)
    for file, root in parsed.items():
        _add_image(builder, file, root, images[file], folder / OBJECTS)
    if request.path.is_dir() and not _lists(request.path):
        for image in sorted({*index.images} - {*images.values()}):
            builder.remarks.count("images without an XML file are left out", image)
    return builder


def _holds(folder: Path) -> bool:
    """Whether the first XML file of a folder is VOC's."""
    first = next(iter(sorted(folder.glob("*.xml"))), None) if folder.is_dir() else None
    return first is not None and root_tag(first) == "annotation"


def _class_list(folder: Path) -> list[str] | None:
    """Names of ``classes.txt``, which ``convnext-dense data`` writes; VOC itself has no list."""
    file = folder / CLASSES
    if not file.is_file():
        return None
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]


def _inside(folder: Path) -> Path | None:
    """The folder of the XML files, in a dataset's folder; None without any."""
    return next((place for sub in ANNOTATIONS if _holds(place := folder / sub)), None)


def _folders(path: Path) -> dict[str, Path]:
    for base in (path, path / ANNOTATIONS[0]):
        if found := split_folders(base, lambda folder: _inside(folder) is not None):
            return found
    return {}


def _lists(path: Path) -> dict[str, Path]:
    """The lists of a VOC folder, by split."""
    if not path.is_dir():
        return {}
    for folder in LISTS:
        found = {}
        for split, names in NAMES.items():
            names = (*names, *([INSTEAD[split]] if split in INSTEAD else []))
            files = [path / folder / f"{name}.txt" for name in names]
            if file := next(filter(Path.is_file, files), None):
                found[split] = file
        if found:
            return found
    return {}


def _files(request: Request) -> tuple[Path, list[Path]]:
    """The folder of a split, and its XML files."""
    path = request.path
    if path.is_file():
        return path.parent, [path]
    if lists := _lists(path):
        choose(path, request.split, lists, f"ImageSets/Main/{request.split}.txt")
        return path, _listed(path, lists[request.split])
    folder = path
    if folders := _folders(path):
        choose(path, request.split, folders, f"a folder {request.split}")
        folder = folders[request.split]
    inside = _inside(folder) or folder
    files = [file for file in sorted(inside.glob("*.xml")) if root_tag(file) == "annotation"]
    return (folder.parent if folder.name in ANNOTATIONS else folder), files


def _listed(path: Path, file: Path) -> list[Path]:
    folder = _inside(path) or path
    lines = [line.split() for line in read_text(file).splitlines() if line.strip()]
    # a second column says of a single class whether it is there (1), difficult (0) or not (-1)
    names = [Path(words[0]) for words in lines]
    stems = [n.stem if n.suffix.lower() in IMAGE_SUFFIXES else n.name for n in names]
    files = [folder / f"{stem}.xml" for stem in stems]
    if missing := [found for found in files if not found.is_file()]:
        raise UserError(
            f"{len(missing)} of {len(files)} names of {file} have no XML file, the first "
            f"{missing[0]}: correct the list, or put the files there."
        )
    return files


def _image_folders(folder: Path) -> list[Path]:
    """VOC's own folder of images where there is one: others hold masks of the same names."""
    own = [folder / name for name in IMAGES if (folder / name).is_dir()]
    return own[:1] or [folder, folder.parent / "images"]


def _find_image(index: ImageIndex, file: Path, root: Element) -> Path | None:
    name = text(root, "filename")
    return (index.find(name) if name else None) or index.find(file.stem)


def _add_image(builder: ContentBuilder, file: Path, root: Element, path: Path, masks: Path) -> None:
    one_based = (text(root, "source/database") or "").lower().startswith(ONE_BASED)
    builder.remarks.count(f"XML files are read {PIXELS[one_based]}", file)
    stated = tuple(int(number(text(root, f"size/{side}") or "0", f"{file}: size/{side}"))
                   for side in ("width", "height"))  # fmt: skip
    if not all(stated):
        builder.remarks.count("XML files state no size: that of the image is taken", file)
    image = builder.add_image(path, stated if all(stated) else None)
    objects = root.findall("object")
    found = object_masks(masks / f"{file.stem}.png", len(objects), image) if objects else {}
    for place, entry in enumerate(objects, start=1):
        where = f"{file}: object {place}"
        name = text(entry, "name")
        if not name:
            raise UserError(f"{where} has no name: write its class there.")
        crowd = int((text(entry, "difficult") or "0") not in ("0", "False", "false"))
        if crowd:
            builder.remarks.count(
                "difficult objects are crowds, on which nothing is trained", where
            )
        box = _box(entry, where, one_based)
        if entry.find("robndbox") is not None:
            builder.remarks.count(
                "objects have an oriented box (robndbox) too, which is not read", where
            )
        if place in found:
            builder.add_mask(image, name, found[place], where, box, iscrowd=crowd)
        else:
            builder.add_box(image, name, box, where, iscrowd=crowd)


def _box(entry: Element, where: str, one_based: bool) -> list[float]:
    box = entry.find("bndbox")
    if box is None:
        kind = "an oriented box (robndbox)" if entry.find("robndbox") is not None else "no bndbox"
        raise UserError(f"{where} has {kind}: write xmin, ymin, xmax and ymax into a bndbox.")
    left, top, right, bottom = (number(text(box, key), f"{where}: {key}") for key in CORNERS)
    if right < left or bottom < top:
        raise UserError(f"{where} ends before it begins (xmax or ymax is too small): correct it.")
    left, top = left - one_based, top - one_based
    return [left, top, right - left, bottom - top]
