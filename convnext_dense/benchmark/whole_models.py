"""The models of configs: classifiers' networks; detectors and segmentors from pixels to results.

Weights are random and nothing is read but the config. A random detector's scores are all alike, and
few or none pass the recipe's threshold, by chance: hardly a mask would be computed, and two models
not equally many. Its threshold is moved so that the ``CANDIDATES`` best scores of the first picture
pass, which fills the list of detections or nearly so.
"""

from copy import deepcopy
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope
from torch import nn

from convnext_dense.config.config_tree import walk
from convnext_dense.config.load import load_config
from convnext_dense.config.plain import SUFFIXES
from convnext_dense.errors import UserError
from convnext_dense.tasks import task_of

# Scope of a config -> the mode that measures its model.
SCOPES = {"mmdet": "detect", "mmseg": "segment"}
WANTED = {"detect": "a detection config", "segment": "a segmentation config"}
CANDIDATES = 1000  # boxes of a class that enter non-maximum suppression
META_KEYS = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")


class WholeModel(nn.Module):
    """A detector or segmentor in predict mode, with its own preprocessor.

    Args:
        cfg: The resolved config.
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.scope = cfg.default_scope
        self.packing = next(
            step for step in cfg.test_dataloader.dataset.pipeline if "Pack" in step["type"]
        )
        with DefaultScope.overwrite_default_scope(self.scope):
            self.model = MODELS.build(cfg.model)

    def to(self, *args: Any, **kwargs: Any) -> "WholeModel":
        """As any module's; the preprocessor learns its device through mmengine's own ``to``."""
        self.model.to(*args, **kwargs)
        return self

    def batch(self, count: int, image_size: tuple[int, int]) -> dict[str, list]:
        """Random pictures, uint8 as from a loader, with what their results need."""
        with DefaultScope.overwrite_default_scope(self.scope):
            pack = TRANSFORMS.build({**self.packing, "meta_keys": META_KEYS})
        rng = np.random.default_rng(0)
        samples = [
            pack(
                dict(
                    img=rng.integers(0, 256, (*image_size, 3), dtype=np.uint8),
                    img_id=index,
                    img_path="",
                    img_shape=image_size,
                    ori_shape=image_size,
                    scale_factor=(1.0, 1.0),
                )
            )
            for index in range(count)
        ]
        return {key: [sample[key] for sample in samples] for key in ("inputs", "data_samples")}

    def forward(self, data: dict[str, list]) -> list:
        """Results of a batch: ``DetDataSample`` or ``SegDataSample``, one a picture."""
        with DefaultScope.overwrite_default_scope(self.scope):
            return self.model.test_step(data)

    @torch.no_grad()
    def let_candidates_pass(self, data: dict[str, list]) -> None:
        """Moves the score threshold of two-stage detectors; other models stay as they are."""
        roi = getattr(self.model, "roi_head", None)
        if roi is None:
            return
        batch = self.model.data_preprocessor(data, False)
        samples = batch["data_samples"]
        features = self.model.extract_feat(batch["inputs"])
        proposals = self.model.rpn_head.predict(features, samples, rescale=False)
        metas = [sample.metainfo for sample in samples]
        found = roi.predict_bbox(features, metas, proposals, rcnn_test_cfg=None)
        scores = found[0].scores[:, :-1].flatten()  # the last is the background
        kept = min(CANDIDATES, len(scores))
        roi.test_cfg.score_thr = scores.topk(kept).values[-1].item()


def is_config(name: str) -> bool:
    """Whether a model's name is that of a config file."""
    return name.endswith((".py", *SUFFIXES))


@lru_cache
def read(path: str) -> Config:
    """Reads a config; its heads get the classes of its data set's type.

    Raises:
        UserError: For a missing file, with the nearest one beside it.
    """
    if not Path(path).is_file():
        beside = {one.name: str(one) for one in Path(path).parent.glob("*.py")}
        near = get_close_matches(Path(path).name, beside, n=1)
        hint = f" the nearest is {beside[near[0]]}." if near else " give the path of one."
        raise UserError(f"There is no config file {path}:{hint}")
    cfg = load_config(path)
    task_of(cfg).assume_classes(cfg)
    for node in walk(cfg.model):  # nothing is downloaded
        node.pop("init_cfg", None)
    return cfg


def build(path: str) -> nn.Module:
    """Builds a config's model: a :class:`WholeModel`, or a classifier's network."""
    cfg = deepcopy(read(path))  # mmdet's models change theirs
    if cfg.default_scope in SCOPES:
        return WholeModel(cfg)
    return MODELS.build(cfg.model).backbone


def variant(cfg: Config) -> str | None:
    """The variant of a config whose model is a plain ConvNeXt classifier; else None."""
    backbone = cfg.model.get("backbone", {})
    plain = backbone.get("type") == "ConvNeXtClassifier" and not backbone.get("use_grn")
    arch = backbone.get("arch", "tiny")
    return arch if plain and isinstance(arch, str) else None


def picture_size(path: str) -> tuple[int, int]:
    """(height, width) of a config's test pictures; a landscape where a scale is given.

    Raises:
        UserError: Where the config does not say it.
    """
    data = read(path).test_dataloader.dataset
    if size := data.get("transform", {}).get("size"):
        return size, size
    scales = [step.scale for step in data.get("pipeline", []) if step["type"] == "Resize"]
    if not scales:
        raise UserError(f"{path} names no test scale: give --image-size.")
    return min(scales[0]), max(scales[0])
