"""The true and the found segments of a data sample, drawn beside each other."""

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.visualization import Visualizer
from PIL import Image, ImageDraw

from convnext_dense.atomic_files import make_folder
from convnext_dense.browse import drawing
from convnext_dense.browse.segments import middle, paint_segments
from convnext_dense.browse.style import class_colours, name_size
from convnext_dense.data.images import read_shown
from convnext_dense.panoptic.dataset import IGNORED
from convnext_dense.panoptic.metric import to_segments
from convnext_dense.panoptic.quality import Segments


def true_segments(sample: Any) -> Segments:
    """The segments of a sample's truth; a crowd is one area of its class."""
    seg_map = sample.gt_sem_seg.sem_seg[0].cpu().numpy()
    ids, labels = np.zeros(seg_map.shape, np.int32), {}
    masks = sample.gt_instances.masks.to_ndarray().astype(bool)
    areas = [(label, seg_map == label) for label in np.unique(seg_map).tolist() if label != IGNORED]
    things = list(zip(sample.gt_instances.labels.tolist(), masks, strict=True))
    for number, (label, mask) in enumerate([*areas, *things], start=1):
        inside = mask[: ids.shape[0], : ids.shape[1]]
        ids[: inside.shape[0], : inside.shape[1]][inside] = number
        labels[number] = label
    left = set(np.unique(ids).tolist())  # an area may be covered by its instances
    return Segments(ids, {number: label for number, label in labels.items() if number in left})


def draw_segments(
    image: np.ndarray, segments: Segments, classes: tuple[str, ...], colours: np.ndarray
) -> Image.Image:
    """The image under its segments with their names, enlarged if small.

    Args:
        image: RGB, uint8 (height, width, 3).
        segments: Of the same size.
        classes, colours: Names and RGB, by label.
    """
    painted = paint_segments(image, segments.ids, segments.labels, colours)
    factor = drawing.enlarge(painted)
    size = (painted.shape[1] * factor, painted.shape[0] * factor)
    picture = Image.fromarray(painted).resize(size, Image.Resampling.NEAREST)
    draw, height = ImageDraw.Draw(picture), name_size(size)
    for number, label in segments.labels.items():
        x, y = middle(segments.ids == number)
        place = (factor * x, factor * y + height // 2)
        drawing.write_name(draw, place, classes[label], colours[label], height)
    return picture


def draw_pair(visualizer: Visualizer, sample: Any) -> np.ndarray:
    """The truth on the left, where there is one, and the result on the right, RGB uint8."""
    image, meta = read_shown(sample.img_path), visualizer.dataset_meta
    classes = tuple(meta["classes"])
    colours = np.array(meta.get("palette") or class_colours(len(classes)), np.uint8)
    found = sample.pred_panoptic_seg.sem_seg[0].cpu().numpy()
    sides = [true_segments(sample)] if "gt_sem_seg" in sample else []
    sides.append(to_segments(found, len(classes)))
    drawn = [np.asarray(draw_segments(image, side, classes, colours)) for side in sides]
    return np.concatenate(drawn, axis=1)


@HOOKS.register_module()
class DrawSegmentsHook(Hook):
    """Draws each tested image: the true segments on the left, the found ones on the right.

    mmdet's hook draws the found ones alone.

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
        folder = Path(self.test_out_dir)
        make_folder(folder)
        for sample in outputs:
            drawn = Image.fromarray(draw_pair(Visualizer.get_current_instance(), sample))
            drawn.save(folder / f"{Path(sample.img_path).stem}.jpg", quality=92)
