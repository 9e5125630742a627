"""YOLO's description of a dataset: data.yaml, Darknet's obj.data, or a list of class names."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from convnext_dense.data.formats.splits import NAMES
from convnext_dense.data.text_files import read_text
from convnext_dense.errors import UserError

YAML = (".yaml", ".yml")
NAME_FILES = (
    "classes.txt", "obj.names", "classes.names", "darknet.labels", "_darknet.labels",
    "labels/classes.txt",
)  # fmt: skip
ABOVE = 3  # folders above an image folder that are searched for class names


@dataclass(frozen=True)
class YoloConfig:
    """What the files around the labels say.

    Attributes:
        file: Where it stands.
        names: Class names in the order of the indices.
        entries: Folders and lists of the images of each split, as written.
        root: The entry ``path``, as written.
        task: The entry ``task``: ``detect``, ``segment``, ``obb`` or ``pose``; None without one.
        keypoints: Whether there is an entry ``kpt_shape``.
        remarks: What was assumed.
    """

    file: Path
    names: tuple[str, ...]
    entries: dict[str, list[str]] = field(default_factory=dict)
    root: str | None = None
    task: str | None = None
    keypoints: bool = False
    remarks: tuple[str, ...] = ()


def find_config(path: Path) -> Path | None:
    """The file that describes a path: itself, or one in the folder; None without one.

    Raises:
        UserError: When several could be meant.
    """
    if path.is_file():
        return path if path.suffix.lower() in (*YAML, ".data") else None
    found = [p for p in sorted(path.iterdir()) if p.suffix.lower() in YAML and _has_names(p)]
    usual = [p for p in found if p.stem in ("data", "dataset")]
    found = usual[:1] or found or sorted(path.glob("*.data"))
    if len(found) > 1:
        raise UserError(
            f"{path} has several YOLO files ({', '.join(p.name for p in found)}): name the file "
            "itself in the place of the folder."
        )
    return found[0] if found else None


def find_names(folder: Path) -> Path | None:
    """The nearest file with class names, in a folder, its folders of labels, or above it.

    Raises:
        UserError: When its folders of labels have different ones.
    """
    for place in [folder, *folder.absolute().parents][: ABOVE + 1]:
        if config := find_config(place):
            return config
        for name in NAME_FILES:
            if (place / name).is_file():
                return place / name
        if place == folder and (found := _beside_labels(folder)):
            return found
    return None


def _beside_labels(folder: Path) -> Path | None:
    """The class names that LabelImg writes among the label files, in ``labels/SPLIT``."""
    parts = list(folder.absolute().parts)
    found = sorted({*folder.glob("labels/*/classes.txt"), *folder.glob("*/labels/classes.txt")})
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        beside = Path(*parts[:last], "labels", *parts[last + 1 :], "classes.txt")
        found += [beside] if beside.is_file() else []
    for other in found[1:]:
        if _lines(other) != _lines(found[0]):
            raise UserError(
                f"{found[0]} and {other} have different class names: write those of all labels "
                f"into {folder / 'classes.txt'}, one a line, in the order of the indices."
            )
    return found[0] if found else None


def read_config(file: Path) -> YoloConfig:
    """Reads a description of any of the three kinds.

    Raises:
        UserError: When it is damaged, or has no class names.
    """
    if file.suffix.lower() in YAML:
        return _from_yaml(file)
    if file.suffix.lower() == ".data":
        return _from_darknet(file)
    return YoloConfig(file, _unique(file, _lines(file)))


def _has_names(path: Path) -> bool:
    try:
        content = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, UserError):
        return path.stem in ("data", "dataset")  # said when it is read
    return isinstance(content, dict) and bool({"names", "nc"} & set(content))


def _from_yaml(file: Path) -> YoloConfig:
    try:
        content = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{file} cannot be read as YAML ({reason}): mend that line; a path with backslashes "
            "stands in single quotes or in none."
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is no YOLO data.yaml: it needs entries such as train and names.")
    names, remarks = _names(file, content)
    entries = {
        split: _paths(file, key, content[key])
        for split, keys in NAMES.items()
        for key in keys
        if content.get(key)
    }
    root = content.get("path")
    return YoloConfig(
        file,
        names,
        entries,
        root=str(root) if root not in (None, "") else None,
        task=str(content["task"]).lower() if content.get("task") else None,
        keypoints="kpt_shape" in content,
        remarks=remarks,
    )


def _paths(file: Path, key: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise UserError(f"{file}: {key} is {value!r}; it names a folder, a list of images or both.")
    return values


def _names(file: Path, content: dict) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names, count = content.get("names"), content.get("nc")
    if names is None and isinstance(count, int):
        said = f"{file} has no names: its {count} classes are called class_0 and so on."
        return tuple(f"class_{index}" for index in range(count)), (said,)
    if isinstance(names, dict):
        if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
            raise UserError(
                f"{file}: names has the indices {', '.join(map(str, names))}; it needs all of 0 to "
                f"{len(names) - 1}."
            )
        names = [dict((str(k), v) for k, v in names.items())[str(i)] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{file} has no names: write names: [first, second, ...].")
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | int | float):
            raise UserError(
                f"{file}: names holds {name!r}, for YAML reads yes, no, on, off, true and null as "
                "such: put the name in quotes."
            )
    if isinstance(count, int) and count != len(names):
        raise UserError(f"{file} states nc: {count}, but has {len(names)} names: correct one.")
    return _unique(file, [str(name) for name in names]), ()


def _from_darknet(file: Path) -> YoloConfig:
    entries = {}
    for line in _lines(file):
        key, _, value = line.partition("=")
        entries[key.strip().lower()] = value.strip()
    written = entries.get("names", "obj.names")
    places = [file.parent / written, Path(written), file.parent / Path(written).name]
    names = next((place for place in places if place.is_file()), None)
    if names is None:
        raise UserError(
            f"{file} names {written} as the list of class names, which is not there: put it beside "
            f"{file.name}."
        )
    splits = {
        split: [entries[key]] for split, keys in NAMES.items() for key in keys if entries.get(key)
    }
    return YoloConfig(file, _unique(names, _lines(names)), splits)


def _lines(file: Path) -> list[str]:
    lines = [line.strip() for line in read_text(file).splitlines()]
    return [line for line in lines if line]


def _unique(file: Path, names: list[str]) -> tuple[str, ...]:
    if not names:
        raise UserError(f"{file} holds no class name: write one a line.")
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{file} names {doubled[0]!r} twice: give each class a name of its own.")
    return tuple(names)


def places(config: YoloConfig, entry: str) -> Iterator[Path]:
    """Where an entry may lie, the likeliest first: it is often written for another machine."""
    beside = config.file.parent
    entry = entry.replace("\\", "/")
    if config.root is not None:
        root = config.root.replace("\\", "/")
        yield beside / root / entry
        yield Path(root) / entry
    yield beside / entry
    yield from shortened(beside, entry)
    yield from shortened(beside.parent, entry)


def shortened(folder: Path, entry: str) -> Iterator[Path]:
    """A path without its first parts, below a folder; never the bare ``images``."""
    parts = [part for part in entry.split("/") if part not in ("", ".", "..")]
    for start in range(len(parts)):
        rest = parts[start:]
        if rest != ["images"] or len(parts) == 1:
            yield folder.joinpath(*rest)
