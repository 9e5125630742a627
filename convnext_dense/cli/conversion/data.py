"""Rewrites annotations in another format."""

import argparse
from pathlib import Path

from convnext_dense.data.coco.check_entries import check_coco
from convnext_dense.data.coco.repeats import note_doubled
from convnext_dense.data.formats.reading import ReadData, is_known, own_splits, read, recognise
from convnext_dense.data.formats.writing import write
from convnext_dense.data.layouts.instance_data import read_instances
from convnext_dense.data.layouts.layout import ALL
from convnext_dense.data.layouts.recognise import UnknownLayout
from convnext_dense.errors import UserError
from convnext_dense.text_table import format_columns

Read = tuple[dict[str, dict], list[str], str]  # each split in COCO's form, remarks, the format


def run(args: argparse.Namespace) -> None:
    """The command."""
    source, target = Path(args.source), Path(args.target)
    contents, remarks, name = _label_images(source, args) or _annotations(source, args)
    remarks += write(contents, target, args.to, args.copy)
    print("\n".join(_table(contents)))
    for line in dict.fromkeys(remarks):
        print(f"- {line}")
    print(f"{name} was read from {source}, {args.to} is written to {target}.")


def _annotations(source: Path, args: argparse.Namespace) -> Read:
    """The splits of a file or folder of annotations."""
    images = _folder(args.images) if args.images else None
    data_format = args.data_format or recognise(source)
    splits = own_splits(source, data_format) or (args.split_name,)
    contents, remarks = {}, []
    for split in splits:
        found = read(source, split, args.data_format, images)
        contents[split] = found.content
        remarks += [*found.remarks, *_notes(f"{source} ({split})", found)]
    return contents, remarks, data_format


def _notes(source: str, found: ReadData) -> list[str]:
    """What a split holds twice, a sentence each; raises where a COCO file cannot be converted."""
    if found.format == "coco":
        check_coco(source, found.content)
    return note_doubled(source, found.content["images"], found.content["annotations"])


def _label_images(source: Path, args: argparse.Namespace) -> Read | None:
    """The splits of a folder of label images; None where it holds annotations, or nothing known."""
    if not source.is_dir() or (not args.components and (args.data_format or is_known(source))):
        return None
    try:
        contents = read_instances(source, args.components)
    except UnknownLayout:
        if args.components:
            raise
        return None  # the formats' own sentence says what was looked for
    named = {args.split_name if split == ALL else split: one for split, one in contents.items()}
    return named, [], "a folder of label images"


def _table(contents: dict[str, dict]) -> list[str]:
    rows = [["split", "images", "instances", "masks", "classes", "without instances"]]
    for split, content in contents.items():
        annotations = content["annotations"]
        used = {annotation["category_id"] for annotation in annotations}
        counts = (
            len(content["images"]),
            len(annotations),
            sum(bool(annotation.get("segmentation")) for annotation in annotations),
            len(content["categories"]),
            len(content["categories"]) - len(used),
        )
        rows.append([split, *(f"{count:,}" for count in counts)])
    return format_columns(rows, ["<", ">", ">", ">", ">", ">"])


def _folder(path: str) -> Path:
    if not Path(path).is_dir():
        raise UserError(f"--images names {path}, which is no folder.")
    return Path(path)
