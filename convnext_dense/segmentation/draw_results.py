"""Pictures of a test: the truth beside the prediction."""

from pathlib import Path

import cv2
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.visualization import Visualizer

from convnext_dense.data.images import read_image


@HOOKS.register_module()
class LabelPicturesHook(Hook):
    """Draws every tested picture: the truth on the left, the prediction on the right.

    mmsegmentation's own hook draws every fiftieth and cannot be told where to.

    Args:
        draw: Whether to draw at all.
        test_out_dir: Folder of the pictures, named like theirs.
    """

    def __init__(self, draw: bool = False, test_out_dir: str | None = None) -> None:
        self.draw = draw
        self.test_out_dir = test_out_dir

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Draws the pictures of one batch."""
        if not self.draw:
            return
        visualizer = Visualizer.get_current_instance()
        folder = Path(self.test_out_dir)
        folder.mkdir(parents=True, exist_ok=True)
        for sample in outputs:
            name = Path(sample.img_path).stem
            image = cv2.cvtColor(read_image(sample.img_path), cv2.COLOR_BGR2RGB)
            out_file = str(folder / f"{name}.jpg")
            visualizer.add_datasample(name, image, sample.cpu(), out_file=out_file)
