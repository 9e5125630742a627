"""COCO: ``annotations/instances_SPLIT.json`` and a folder of images for each split."""

import json
from pathlib import Path

from convnext_dense.data.formats.remarks import Remarks
from convnext_dense.data.formats.writers.split import Place, Split, folder_of


def write(folder: Path, splits: dict[str, Split], place: Place, remarks: Remarks) -> None:
    """Writes all splits; what the content holds beside images and objects is kept."""
    for name, split in splits.items():
        images = folder_of(folder / name)
        entries = []
        for image, new, _ in split.images:
            place(Path(image["file_name"]), images / new)
            entries.append({**image, "file_name": new})
        content = {**split.content, "images": entries}
        path = folder_of(folder / "annotations") / f"instances_{name}.json"
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
