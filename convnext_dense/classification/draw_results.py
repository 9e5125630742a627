"""Pictures of a test with their true and predicted classes."""

from pathlib import Path

import cv2
import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from convnext_dense.data.images import read_image
from convnext_dense.errors import UserError

SIDE = 224  # pixels of a written picture
RIGHT, WRONG = (0, 120, 0), (0, 0, 200)  # BGR


@HOOKS.register_module()
class ClassPicturesHook(Hook):
    """Writes every tested picture with its class, and the predicted one where that is another.

    Pictures of folders only: those in tars and shards have no file of their own.

    Args:
        draw: Whether to write at all.
        test_out_dir: Folder of the pictures, one folder a class in it.
    """

    def __init__(self, draw: bool = False, test_out_dir: str | None = None) -> None:
        self.draw = draw
        self.test_out_dir = test_out_dir

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Writes the pictures of one batch."""
        if not self.draw:
            return
        classes = runner.test_dataloader.dataset.metainfo["classes"]
        for sample in outputs:
            truth = classes[int(sample["label"])]
            predicted = classes[int(sample["logits"].argmax())]
            folder = Path(self.test_out_dir) / truth
            folder.mkdir(parents=True, exist_ok=True)
            picture = _caption(_read(sample["path"]), truth, predicted)
            cv2.imwrite(str(folder / f"{Path(sample['path']).stem}.jpg"), picture)


def _read(path: str) -> np.ndarray:
    if not Path(path).is_file():
        raise UserError(f"--show-dir writes pictures that are files; {path} is none.")
    return cv2.resize(read_image(path), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def _caption(picture: np.ndarray, truth: str, predicted: str) -> np.ndarray:
    bar = np.full((24, SIDE, 3), 255, np.uint8)
    right = truth == predicted
    text = truth if right else f"{truth}: {predicted}"
    cv2.putText(bar, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, RIGHT if right else WRONG, 1)
    return np.concatenate([picture, bar])
