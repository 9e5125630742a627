"""Predicts an image or a folder of images."""

import argparse
import json
from collections import Counter
from pathlib import Path

from convnext_dense.atomic_files import make_folder, write_atomically
from convnext_dense.data.images import find_images, read_image, write_image
from convnext_dense.errors import UserError
from convnext_dense.predictor import Predictor
from convnext_dense.runs.progress import new_progress
from convnext_dense.runs.work_folder import resolve_checkpoint


def overlay_names(images: list[Path], out: Path) -> list[Path]:
    """One new file for each image: never an input, never one for two."""
    stems = Counter(path.stem for path in images)
    names = [f"{path.stem if stems[path.stem] == 1 else path.name}.jpg" for path in images]
    overlays = [out / name for name in names]
    if clash := {path.resolve() for path in images} & {path.resolve() for path in overlays}:
        raise UserError(f"--out would overwrite {sorted(clash)[0]}: name another folder.")
    return overlays


def run(args: argparse.Namespace) -> None:
    """The command."""
    images = find_images(args.images)
    out = Path(args.out)
    overlays = overlay_names(images, out)
    make_folder(out)
    predictor = Predictor(
        args.config,
        resolve_checkpoint(args.checkpoint),
        device=args.device,
        score_threshold=args.score_threshold,
    )
    results, left_out = [], []
    try:
        with new_progress() as progress:
            task = progress.add_task("predict", total=len(images), figures="")
            for path, overlay in zip(images, overlays, strict=True):
                try:
                    image = read_image(path)
                    sample = predictor(image)
                    results.append({"file_name": path.name, **predictor.describe(sample)})
                    write_image(overlay, predictor.draw(image, sample))
                    predictor.write_files(sample, overlay.with_suffix(""))
                except UserError as error:  # the other images are not lost
                    left_out.append(f"{path.name}: {error}")
                progress.advance(task)
    finally:
        write_atomically(out / "predictions.json", json.dumps(results, indent=1))
    print(f"{predictor.summary(results)} in {len(results)} images: {out}")
    if left_out:
        raise UserError(f"{len(left_out)} images were left out. {' '.join(left_out[:5])}")
