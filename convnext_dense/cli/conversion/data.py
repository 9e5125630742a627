"""Rewrites annotations in another format."""

import argparse
from pathlib import Path

from convnext_dense.data.coco.check_entries import check_coco
from convnext_dense.data.formats.reading import ReadData, own_splits, read, recognise
from convnext_dense.data.formats.writing import write
from convnext_dense.errors import UserError
from convnext_dense.text_table import format_columns


def run(args: argparse.Namespace) -> None:
    """The command."""
    source, target = Path(args.source), Path(args.target)
    images = _folder(args.images) if args.images else None
    data_format = args.data_format or recognise(source)
    splits = own_splits(source, data_format) or (args.split_name,)
    found: dict[str, ReadData] = {}
    for split in splits:
        found[split] = read(source, split, args.data_format, images)
        if found[split].format == "coco":
            check_coco(str(source), found[split].content)
    contents = {split: data.content for split, data in found.items()}
    remarks = [line for data in found.values() for line in data.remarks]
    remarks += write(contents, target, args.to, args.copy)
    print("\n".join(_table(contents)))
    for line in dict.fromkeys(remarks):
        print(f"- {line}")
    print(f"{data_format} was read from {source}, {args.to} is written to {target}.")


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
