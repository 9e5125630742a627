"""The toolboxes' data samples of one image: ``Predictor(config, checkpoint)("street.jpg")``.

:mod:`convnext_dense.inference.model` has the object for everything else: any source, plain results.
"""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.data.bands.reading import RGB
from convnext_dense.data.images import read_image
from convnext_dense.errors import UserError
from convnext_dense.inference.base_result import Legend, Result
from convnext_dense.inference.results import DetectionResult, SegmentationResult
from convnext_dense.inference.sources import SourceImage
from convnext_dense.inference.trained.loading import build_network, choose_device, palette_of
from convnext_dense.inference.trained.networks import to_instances
from convnext_dense.inference.trained.opening import open_named
from convnext_dense.tasks import entry_of

__all__ = ["Predictor", "choose_device"]


class Predictor:
    """A trained detector or segmentor, ready for images.

    Args:
        config: The config it was trained with; no dataset needs to be there.
        checkpoint: A checkpoint of this project or of the official release.
        device: Where to run; the GPU where there is one.
        score_threshold: Detections below this score are left out.

    Raises:
        UserError: For a checkpoint whose classes nothing names, or that is another model's.
    """

    @safe_reading()
    def __init__(
        self,
        config: str | os.PathLike,
        checkpoint: str | os.PathLike,
        device: str | None = None,
        score_threshold: float = 0.3,
    ) -> None:
        opened = open_named(checkpoint, config)
        if not getattr(entry_of(opened.config), "toolbox", None):
            scope = opened.config.get("default_scope")
            raise UserError(f"{config} is neither a detector nor a segmentor ({scope}).")
        self.device = choose_device(device)
        self.network = build_network(opened, self.device)
        self.classes = self.network.classes
        self.legend = Legend(self.classes, palette_of(opened))
        self.score_threshold = score_threshold

    @safe_reading()
    def __call__(self, image: str | os.PathLike | np.ndarray) -> Any:
        """Predicts one image.

        Args:
            image: A file, or an array (height, width, 3) in BGR order; of a model for other
                images (height, width, channels), in the order and on the scale that
                :func:`convnext_dense.data.images.read_image` gives.

        Returns:
            mmdet's ``DetDataSample``: ``pred_instances`` holds boxes (xyxy, pixels of the
            image), scores, labels and masks (n, height, width). Of a segmentor
            mmsegmentation's ``SegDataSample``: ``pred_sem_seg.data`` holds a label a pixel,
            (1, height, width).

        Raises:
            UserError: When the file cannot be read as an image.
        """
        name = str(image) if isinstance(image, str | os.PathLike) else "an image"
        reading = self.network.reading
        pixels = read_image(image, reading) if isinstance(image, str | os.PathLike) else image
        if reading.channels == RGB:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        prepared = self.network.prepare(pixels, name, views=False)
        (sample,) = self.network.samples([prepared])
        if "pred_instances" in sample:
            selected = sample.pred_instances.scores >= self.score_threshold
            sample.pred_instances = sample.pred_instances[selected]
        sample.pop("seg_logits", None)
        return sample.cpu()

    def draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        """The image (BGR) with boxes, names, scores and masks, or labels, drawn into a copy."""
        drawn = self._result(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), sample).draw()
        return cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)

    def describe(self, sample: Any) -> dict:
        """A result in plain numbers, for JSON."""
        return self._result(np.zeros((*sample.ori_shape, 3), np.uint8), sample).describe()

    def write_files(self, sample: Any, stem: Path) -> None:
        """Writes what of a result is a file of its own: a segmentor's ``STEM_labels.png``."""
        self._result(np.zeros((*sample.ori_shape, 3), np.uint8), sample).write_files(stem)

    def _result(self, image: np.ndarray, sample: Any) -> Result:
        source = SourceImage(image, "image")
        if "pred_instances" in sample:
            return DetectionResult(source, self.legend, to_instances(sample))
        labels = sample.pred_sem_seg.data[0].numpy()
        return SegmentationResult(source, self.legend, labels)
