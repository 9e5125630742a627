"""Drawings of tested images with their true and predicted classes."""

from pathlib import Path

import cv2
import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from convnext_dense.data.images import read_image
from convnext_dense.errors import UserError

SIDE = 224  # pixels of a drawing
CORRECT_COLOR, WRONG_COLOR = (0, 120, 0), (0, 0, 200)  # BGR


@HOOKS.register_module()
class DrawClassesHook(Hook):
    """Draws each tested image with its class, and with the predicted class if it is another one.

    It needs image files, as the readers ``folder`` and (partly) ``hf`` have, not tars or shards.

    Args:
        draw: Whether to draw.
        test_out_dir: Folder of the drawings, with a folder for each class in it.
    """

    def __init__(self, draw: bool = False, test_out_dir: str | None = None) -> None:
        self.draw = draw
        self.test_out_dir = test_out_dir

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Draws the images of one batch."""
        if not self.draw:
            return
        classes = runner.test_dataloader.dataset.metainfo["classes"]
        for sample in outputs:
            truth = classes[int(sample["label"])]
            predicted = classes[int(sample["logits"].argmax())]
            folder = Path(self.test_out_dir) / truth
            folder.mkdir(parents=True, exist_ok=True)
            image = draw_classes(sample["path"], truth, predicted)
            cv2.imwrite(str(folder / f"{Path(sample['path']).stem}.jpg"), image)


def draw_classes(path: str, truth: str, predicted: str) -> np.ndarray:
    """An image with its class, and with the predicted one if it is another: BGR (248, 224, 3).

    Raises:
        UserError: When the image is none of a file.
    """
    if not Path(path).is_file():
        raise UserError(
            f"--show-dir needs image files, but {path} is not a file: leave --show-dir out."
        )
    image = cv2.resize(read_image(path), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    bar = np.full((24, SIDE, 3), 255, np.uint8)
    correct = truth == predicted
    text = truth if correct else f"{truth}: {predicted}"
    color = CORRECT_COLOR if correct else WRONG_COLOR
    cv2.putText(bar, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, 1)
    return np.concatenate([image, bar])
