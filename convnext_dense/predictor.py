"""One line from an image to a result: ``Predictor(config, checkpoint)("street.jpg")``."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, TRANSFORMS, VISUALIZERS, init_default_scope

from convnext_dense.config.load import load_config
from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.data.class_names import class_names
from convnext_dense.data.images import explaining_opencv, read_image
from convnext_dense.errors import UserError
from convnext_dense.tasks import task_of
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import check_parts, compare


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
        content = read_checkpoint(checkpoint)
        cfg = load_config(config)
        task = task_of(cfg)
        if task.results((), score_threshold) is None:
            scope = cfg.get("default_scope")
            raise UserError(f"{config} is neither a detector nor a segmentor ({scope}).")
        check_parts(cfg.model, content, str(checkpoint))
        init_default_scope(cfg.default_scope)
        classes = class_names(cfg, content, str(checkpoint))
        self.results = task.results(classes, score_threshold)
        task.fit_to_checkpoint(cfg, content, str(checkpoint), classes)
        task.keep_scores(cfg, None)
        cfg.model.backbone.init_cfg = None
        self.classes = classes
        self.device = choose_device(device)
        self.model = MODELS.build(cfg.model)
        state, differences = compare(self.model, content)
        if differences:
            raise UserError(f"{checkpoint} is not a checkpoint of {config}: {differences}")
        self.model.load_state_dict(state)
        self.model.to(self.device).eval()
        self.pipeline = self._pipeline(cfg)
        self.visualizer = VISUALIZERS.build(
            {**cfg.visualizer, "name": "predictor", "vis_backends": None}
        )
        self.visualizer.dataset_meta = dict(classes=classes, palette=_palette(content, classes))

    @torch.no_grad()
    @safe_reading()
    def __call__(self, image: str | os.PathLike | np.ndarray) -> Any:
        """Predicts one image.

        Args:
            image: A file, or an array (height, width, 3) in BGR order.

        Returns:
            mmdet's ``DetDataSample``: ``pred_instances`` holds boxes (xyxy, pixels of the
            image), scores, labels and masks (n, height, width). Of a segmentor
            mmsegmentation's ``SegDataSample``: ``pred_sem_seg.data`` holds a label a pixel,
            (1, height, width).

        Raises:
            UserError: When the file cannot be read as an image.
        """
        image = read_image(image) if isinstance(image, str | os.PathLike) else image
        height, width = image.shape[:2]
        with explaining_opencv(f"An image of {width} x {height} pixels"):
            batch = pseudo_collate([self.pipeline(dict(img=image, img_id=0))])
        (sample,) = self.model.test_step(batch)
        return self.results.select(sample).cpu()

    def draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        """The image (BGR) with boxes, names, scores and masks, or labels, drawn into a copy."""
        self.visualizer.add_datasample(
            "prediction",
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB),
            sample,
            draw_gt=False,
            **self.results.draw_options(image),
        )
        return cv2.cvtColor(self.visualizer.get_image(), cv2.COLOR_RGB2BGR)

    def describe(self, sample: Any) -> dict:
        """A result in plain numbers, for JSON."""
        return self.results.describe(sample)

    def summary(self, descriptions: list[dict]) -> str:
        """What was found in all, in a few words."""
        return self.results.sum_up(descriptions)

    def write_files(self, sample: Any, stem: Path) -> None:
        """Writes what of a result is a file of its own: a segmentor's ``STEM_labels.png``."""
        self.results.write_files(sample, stem)

    def _pipeline(self, cfg: Config) -> Compose:
        """The test pipeline for arrays: no file to load, no truth to read."""
        reading = ("LoadImage", "LoadImageFromFile", "LoadAnnotations", "LoadLabels")
        steps = [
            TRANSFORMS.build({**step, "meta_keys": META_KEYS} if "Pack" in step["type"] else step)
            for step in cfg.test_dataloader.dataset.pipeline
            if step["type"] not in reading
        ]
        return Compose([TRANSFORMS.build({"type": "LoadImageFromNDArray"}), *steps])


META_KEYS = ("img_id", "ori_shape", "img_shape", "scale_factor")


def _palette(content: dict, classes: tuple[str, ...]) -> list[tuple[int, ...]]:
    """The colours (RGB) the checkpoint's dataset brought, or ones that are far apart."""
    palette = ((content.get("meta") or {}).get("dataset_meta") or {}).get("palette")
    if palette is not None and len(palette) == len(classes):
        return [tuple(map(int, colour)) for colour in palette]
    colours = np.random.default_rng(0).integers(0, 256, (len(classes), 3)).tolist()
    return [tuple(colour) for colour in colours]  # of lists mmengine draws no boxes


def choose_device(name: str | None) -> torch.device:
    """The named device; without a name the GPU where there is one.

    Raises:
        UserError: When there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"Device {name!r} is not available here: {str(error).splitlines()[0]}"
        ) from error
