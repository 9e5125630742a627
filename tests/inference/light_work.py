"""What a model of numpy finds in images, tiles and a video; and the libraries that were imported.

``python -m tests.inference.light_work FOLDER [refusal]``: FOLDER/images holds PNG files, and
results are written beside it. The network finds what is bright.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import convnext_dense
from convnext_dense.errors import UserError
from convnext_dense.inference.instances import Instances
from convnext_dense.inference.model import Model
from convnext_dense.inference.network import Network, Scores
from convnext_dense.inference.output.formats import FORMATS, open_writer
from convnext_dense.inference.output.videos import writing_video
from convnext_dense.inference.rle_codec import encode


class Bright(Network):
    """Finds bright areas."""

    classes = ("dark", "bright")

    def __init__(self, task: str) -> None:
        self.task = task

    def check_views(self) -> None:
        """It has none."""

    def prepare(self, image: np.ndarray, name: str, views: bool) -> np.ndarray:
        """Whether a pixel is bright."""
        return image.max(axis=2) > 128

    def size(self, prepared: np.ndarray) -> tuple[int, ...]:
        """Its height and width."""
        return prepared.shape

    def predict(self, prepared: Sequence[np.ndarray], views: bool, probabilities: bool) -> list:
        """The areas as objects, or the label of every pixel."""
        if self.task == "detection":
            return [self._objects(bright) for bright in prepared]
        return [Scores(one.astype(np.uint8), np.stack([~one, one]) * 1.0) for one in prepared]

    def _objects(self, bright: np.ndarray) -> Instances:
        count, areas = cv2.connectedComponents(bright.astype(np.uint8))
        masks = [areas == number for number in range(1, count)]
        found = [cv2.boundingRect(mask.astype(np.uint8)) for mask in masks]
        boxes = [(x, y, x + width, y + height) for x, y, width, height in found]
        return Instances(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.linspace(0.9, 0.8, len(masks), dtype=np.float32),
            np.ones(len(masks), np.int64),
            [encode(mask) for mask in masks],
        )


def predict(task: str, folder: Path) -> dict[str, Any]:
    """Predicts files, in tiles, and an array; writes all formats and a drawing."""
    images, model = str(folder / "images"), Model(Bright(task), "a test")
    whole = list(model.predict(images, batch_size=2))
    tiled = list(model.predict(f"{images}/*.png", tile=64, overlap=0.3))
    for name in FORMATS:
        place = folder / task / name
        place.mkdir(parents=True)
        with open_writer(name, place, model.classes, task) as writer:
            for result in whole:
                writer.add(result, Path(result.source.name).stem)
    whole[0].save(folder / task)
    return dict(
        whole=[result.to_dict() for result in whole],
        tiled=[result.to_dict() for result in tiled],
        array=model(whole[0].image).to_dict(),
    )


def film(folder: Path) -> list[int]:
    """Makes a video, predicts it, and draws another one; the frames that were predicted."""
    frame = cv2.imread(str(next((folder / "images").iterdir())))
    with writing_video(folder / "film.mp4", 5.0) as made:
        for _ in range(4):
            made.add(frame)
    found = list(Model(Bright("detection"), "a test").predict(str(folder / "film.mp4")))
    with writing_video(folder / "drawn.mp4", 5.0) as drawn:
        for result in found:
            drawn.add(result.draw())
    return [result.source.frame for result in found]


def refusal_of_a_checkpoint() -> str:
    """What is said of a model that needs torch."""
    try:
        convnext_dense.load("a.pth")
    except UserError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    place = Path(sys.argv[1])
    found = {task: predict(task, place) for task in ("detection", "segmentation")}
    found |= dict(frames=film(place), imported=sorted({n.split(".")[0] for n in sys.modules}))
    if "refusal" in sys.argv:
        found["refusal"] = refusal_of_a_checkpoint()
    print(json.dumps(found))
