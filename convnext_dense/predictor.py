"""One line from a picture to a result: ``Predictor(config, checkpoint)("street.jpg")``."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, TRANSFORMS, VISUALIZERS, init_default_scope

from convnext_dense.engine.class_names import class_names
from convnext_dense.engine.config import load_config
from convnext_dense.engine.fit_data import drop_mask_branch, set_num_classes
from convnext_dense.errors import UserError
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import check_parts, compare, has_masks

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class Predictor:
    """A trained detector, ready for pictures.

    Args:
        config: The config it was trained with; no data set needs to be there.
        checkpoint: A checkpoint of this project or of the official release.
        device: Where to run; the GPU where there is one.
        score_threshold: Detections below this score are left out.

    Raises:
        UserError: For a checkpoint whose classes nothing names, or that is another model's.
    """

    def __init__(
        self,
        config: str | os.PathLike,
        checkpoint: str | os.PathLike,
        device: str | None = None,
        score_threshold: float = 0.3,
    ) -> None:
        content = read_checkpoint(checkpoint)
        cfg = load_config(config, require_data=False)
        if cfg.get("default_scope") != "mmdet":
            raise UserError(f"{config} is no detector: prediction is for detectors only so far.")
        check_parts(cfg.model, content, str(checkpoint))
        init_default_scope(cfg.default_scope)
        classes = class_names(cfg, content, str(checkpoint))
        set_num_classes(cfg, len(classes), str(checkpoint))
        if not has_masks(content):
            drop_mask_branch(cfg)
        cfg.model.backbone.init_cfg = None
        self.classes = classes
        self.score_threshold = score_threshold
        self.device = choose_device(device)
        self.model = MODELS.build(cfg.model)
        state, differences = compare(self.model, content)
        if differences:
            raise UserError(f"{checkpoint} is not a checkpoint of {config}: {differences}")
        self.model.load_state_dict(state)
        self.model.to(self.device).eval()
        self.pipeline = _pipeline(cfg)
        self.visualizer = VISUALIZERS.build(
            {**cfg.visualizer, "name": "predictor", "vis_backends": None}
        )
        self.visualizer.dataset_meta = dict(classes=classes)

    @torch.no_grad()
    def __call__(self, image: str | os.PathLike | np.ndarray) -> Any:
        """Predicts one picture.

        Args:
            image: A file, or an array (height, width, 3) in BGR order.

        Returns:
            mmdet's ``DetDataSample``; ``pred_instances`` holds boxes (xyxy, pixels of the
            picture), scores, labels and masks (n, height, width).

        Raises:
            UserError: When the file cannot be read as a picture.
        """
        image = read_image(image) if isinstance(image, str | os.PathLike) else image
        try:
            batch = pseudo_collate([self.pipeline(dict(img=image, img_id=0))])
        except cv2.error as error:  # a side of the resized picture rounds to nothing
            height, width = image.shape[:2]
            raise UserError(
                f"A picture of {height} x {width} pixels is too thin for the test scale."
            ) from error
        (sample,) = self.model.test_step(batch)
        keep = sample.pred_instances.scores >= self.score_threshold
        sample.pred_instances = sample.pred_instances[keep]
        return sample.cpu()

    def draw(self, image: np.ndarray, sample: Any) -> np.ndarray:
        """The picture (BGR) with boxes, names, scores and masks drawn into a copy."""
        self.visualizer.add_datasample(
            "prediction",
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB),
            sample,
            draw_gt=False,
            pred_score_thr=self.score_threshold,
        )
        return cv2.cvtColor(self.visualizer.get_image(), cv2.COLOR_RGB2BGR)


def _pipeline(cfg: Any) -> Compose:
    """The test pipeline for arrays: no file to load, no truth to read."""
    steps = [
        step
        for step in cfg.test_dataloader.dataset.pipeline
        if step["type"] not in ("LoadImageFromFile", "LoadAnnotations")
    ]
    return Compose([TRANSFORMS.build({"type": "mmdet.LoadImageFromNDArray"}), *map(_build, steps)])


def _build(step: dict) -> Any:
    if step["type"] == "PackDetInputs":
        step = {**step, "meta_keys": ("img_id", "ori_shape", "img_shape", "scale_factor")}
    return TRANSFORMS.build(step)


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


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads a picture as BGR (height, width, 3).

    Raises:
        UserError: When there is no such file or it is not a whole picture.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no picture {path}.")
    content = np.fromfile(path, dtype=np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if image is None:
        raise UserError(f"{path} cannot be read as a picture: it is empty, cut off or no picture.")
    return image


def write_image(path: Path, image: np.ndarray) -> None:
    """Writes a BGR picture.

    Raises:
        UserError: When it cannot be written.
    """
    if not cv2.imwrite(str(path), image):
        raise UserError(f"{path} cannot be written: is the disk full, or the folder protected?")


def find_images(path: str | os.PathLike) -> list[Path]:
    """The picture itself, or every picture in a folder, sorted.

    Raises:
        UserError: When there is none.
    """
    path = Path(path)
    if path.is_dir():
        images = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise UserError(f"{path} holds no picture ({', '.join(IMAGE_SUFFIXES)}).")
        return images
    if not path.is_file():
        raise UserError(f"There is no picture or folder {path}.")
    return [path]
