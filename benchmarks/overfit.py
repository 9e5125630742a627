"""Whether a model learns at all: miniature configs on 20 images, evaluated on the same images.

    python benchmarks/overfit.py mask_rcnn_convnext_a_shapes upernet_convnext_a_shapes \
        --data-root DATA --out overfit/

Each config is one of the embedded shapes. Its training images are cut to the first 20 that show
something and are the validation images too; the schedule is stretched to the number of steps. A
model whose losses, targets and decoding fit together reaches a high figure, any other does not.
Prints a row for each config: steps, figures, minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from copy import deepcopy
from math import ceil
from pathlib import Path
from typing import Any

from mmengine.config import Config

from convnext_dense.config.names import find_config
from convnext_dense.text_table import format_columns

ROOT = Path(__file__).parents[1]
FIGURES = ("PQ", "bbox_mAP", "segm_mAP", "mIoU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="+", metavar="CONFIG")
    parser.add_argument("--data-root", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--steps", type=int, default=600)
    args = parser.parse_args()
    rows = [("config", "steps", "figures", "minutes")]
    for name in args.configs:
        rows.append(overfit(name, args))
        print(*format_columns(rows, "<><>"), sep="\n", flush=True)


def overfit(name: str, args: argparse.Namespace) -> tuple[str, ...]:
    """Trains a config on few images; the row of the table."""
    folder = args.out / Path(name).stem
    folder.mkdir(parents=True, exist_ok=True)
    cfg = Config.fromfile(find_config(name))
    use_few_images(cfg, args.data_root, args.images)
    steps = set_steps(cfg, args.steps, args.images)
    cfg.dump(folder / "config.py")
    began = time.monotonic()
    flags = ["--work-dir", folder / "run", "--data-root", args.data_root, "--seed", "0"]
    command = [sys.executable, "-m", "convnext_dense", "train", folder / "config.py", *flags]
    subprocess.run([str(word) for word in command], check=True, cwd=ROOT, env={**os.environ})
    found = json.loads((folder / "run" / "metrics.json").read_text())
    figures = ", ".join(
        f"{key.split('/')[-1]} {value:.3f}"
        for key, value in found.items()
        if key.split("/")[-1] in FIGURES
    )
    return Path(name).stem, str(steps), figures, f"{(time.monotonic() - began) / 60:.1f}"


def use_few_images(cfg: Config, data_root: Path, images: int) -> None:
    """Trains and evaluates on the first images of the training data that show something."""
    train = cfg.train_dataloader.dataset
    train.indices = images
    sources = {key: deepcopy(train[key]) for key in ("ann_file", "data_prefix") if key in train}
    # A dataset drops images without objects in training, and keeps them in a test.
    places = list(range(images))
    if "ann_file" in train and train.ann_file.endswith(".json"):
        file = data_root / train.data_root / train.ann_file
        places = shown(json.loads(file.read_text()))[:images]
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.update(sources, indices=places)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        if evaluator.get("ann_file"):
            evaluator.ann_file = sources["ann_file"]


def shown(annotations: dict[str, Any]) -> list[int]:
    """The places of the images with annotations, of COCO's objects or panoptic segments."""
    seen = {entry["image_id"] for entry in annotations["annotations"]}
    return [place for place, image in enumerate(annotations["images"]) if image["id"] in seen]


def set_steps(cfg: Config, steps: int, images: int) -> int:
    """Stretches the schedule to at least so many steps; returns their number."""
    unit = "max_epochs" if "max_epochs" in cfg.train_cfg else "max_iters"
    by_epoch, before = unit == "max_epochs", cfg.train_cfg[unit]
    per_epoch = ceil(images / cfg.train_dataloader.batch_size)
    after = ceil(steps / per_epoch) if by_epoch else steps
    for scheduler in cfg.param_scheduler:
        if scheduler.get("by_epoch", True) == by_epoch:
            stretch(scheduler, after / before)
    cfg.train_cfg.update({unit: after, "val_interval": after})
    cfg.default_hooks.checkpoint.interval = after
    return after * per_epoch if by_epoch else after


def stretch(scheduler: dict[str, Any], times: float) -> None:
    """Multiplies the places of a scheduler in time."""
    for key in ("begin", "end", "T_max"):
        if key in scheduler:
            scheduler[key] = round(scheduler[key] * times)
    if "milestones" in scheduler:
        scheduler["milestones"] = [round(place * times) for place in scheduler["milestones"]]


if __name__ == "__main__":
    main()
