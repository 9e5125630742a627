"""Drawings of a test: the ground truth beside the prediction."""

from functools import cache
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.visualization import Visualizer

from convnext_dense.data.images import read_shown


@HOOKS.register_module()
class DrawLabelsHook(Hook):
    """Draws each tested image: the ground truth on the left, the prediction on the right.

    mmsegmentation's hook draws every 50th image only, and its folder cannot be chosen.

    Args:
        draw: Whether to draw.
        test_out_dir: Folder of the drawings, which have the names of the images.
    """

    def __init__(self, draw: bool = False, test_out_dir: str | None = None) -> None:
        self.draw = draw
        self.test_out_dir = test_out_dir

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Draws the results of one batch."""
        if not self.draw:
            return
        visualizer = Visualizer.get_current_instance()
        folder = Path(self.test_out_dir)
        folder.mkdir(parents=True, exist_ok=True)
        for sample in outputs:
            name = Path(sample.img_path).stem
            draw_labels(visualizer, name, sample, out_file=str(folder / f"{name}.jpg"))


def draw_labels(visualizer: Visualizer, name: str, sample: Any, **where: Any) -> None:
    """Draws the truth beside the prediction: into ``out_file``, or at a ``step`` of the log.

    mmsegmentation writes names with OpenCV, which knows ASCII alone; others are left out.
    """
    image = read_shown(sample.img_path)
    named = _can_be_written(tuple(visualizer.dataset_meta.get("classes") or ()))
    visualizer.add_datasample(name, image, sample.cpu(), with_labels=named, **where)


@cache
def _can_be_written(classes: tuple[str, ...]) -> bool:
    """Whether OpenCV can write all names; says once where it cannot."""
    others = [name for name in classes if not name.isascii()]
    if others:
        print_log(
            f"These drawings have no names, because OpenCV cannot write {others[0]!r}: "
            "convnext-dense predict writes them."
        )
    return not others
