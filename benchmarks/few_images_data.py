"""The training and validation images of ``few_images.py``, as flags of a training."""

import json
import random
from pathlib import Path

from convnext_dense.atomic_files import write_atomically

LEAST_AREA = 96 * 96  # pixels: COCO's large objects


def coco_flags(data_root: Path, out: Path, size: int, seed: int) -> list:
    """A COCO file of some training images; all validation images."""
    coco = data_root / "coco"
    train = out / f"train_{size}_{seed}.json"
    val = out / "val.json"
    out.mkdir(parents=True, exist_ok=True)
    for path, split in ((train, "train"), (val, "val")):
        content = json.loads((coco / f"annotations/instances_{split}2017.json").read_text())
        content["categories"] = [dict(id=1, name="object")]
        content["annotations"] = [
            one | dict(category_id=1)
            for one in content["annotations"]
            if one["area"] >= LEAST_AREA and not one["iscrowd"]
        ]
        if split == "train":
            choose_images(content, size, seed)
        write_atomically(path, json.dumps(content))
    images = ["--images", coco / "train2017", coco / "val2017"]
    return ["--train-json", train, "--val-json", val, *images]


def choose_images(content: dict, size: int, seed: int) -> None:
    """Keeps so many images, of those with an object."""
    shown = {one["image_id"] for one in content["annotations"]}
    images = [one for one in content["images"] if one["id"] in shown]
    random.Random(seed).shuffle(images)
    content["images"] = images[:size]
    kept = {one["id"] for one in content["images"]}
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in kept]


def street_flags(data_root: Path, out: Path, size: int, seed: int) -> list:
    """Links to some street scenes and their labels; all validation images."""
    ade, folder = data_root / "ade/ADEChallengeData2016", out / "streets"
    names = sorted(path.stem for path in (ade / "images/training").glob("*.jpg"))
    random.Random(seed).shuffle(names)
    parts = {}
    for kind, suffix in (("images", ".jpg"), ("annotations", ".png")):
        target = folder / f"{size}_{seed}" / kind
        target.mkdir(parents=True, exist_ok=True)
        for name in names[:size]:
            link = target / f"{name}{suffix}"
            if not link.is_symlink():
                link.symlink_to((ade / kind / "training" / f"{name}{suffix}").resolve())
        parts[kind] = [target, ade / kind / "validation"]
    classes = folder / "classes.txt"
    classes.write_text(
        "sky\nbuilding\npole\nroad\npavement\ntree\nsign\nfence\ncar\npedestrian\nbicyclist\n"
    )
    return [
        "--images", *parts["images"], "--labels", *parts["annotations"],
        "--classes", classes, "--reduce-zero-label",
    ]  # fmt: skip
