"""One step of a config's detector, for gpu.py: training, and testing in several views."""

from contextlib import suppress
from copy import deepcopy
from unittest.mock import patch

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import TASK_UTILS, TRANSFORMS, DefaultScope

from convnext_dense.benchmark.timing import Step
from convnext_dense.benchmark.whole_models import META_KEYS, WholeModel, read_config

OBJECTS = 8  # per image of a training iteration


def import_mmpretrain() -> None:
    """Imports the stock backbone, if installed, while transformers is hidden.

    mmpretrain 1.2 finds transformers by ``importlib_metadata``, and fails with version 5.
    """
    try:
        import importlib_metadata as metadata
    except ImportError:
        return
    distribution = metadata.distribution

    def hide_transformers(package: str) -> object:
        if package == "transformers":
            raise metadata.PackageNotFoundError(package)
        return distribution(package)

    with patch.object(metadata, "distribution", hide_transformers), suppress(ImportError):
        import mmpretrain.models  # noqa: F401


def detector_config(path: str, small: bool) -> Config:
    """A detector's config; ``small`` has few regions and one small view, for trials on a CPU."""
    cfg = deepcopy(read_config(path))
    if small:
        cfg.model.train_cfg.rpn_proposal.max_per_img = cfg.model.test_cfg.rpn.max_per_img = 20
        for stage in cfg.model.train_cfg.rcnn:
            stage.sampler.num = 8
        cfg.tta_views.scales = [(64, 96)]
    return cfg


def training_data(size: tuple[int, int], count: int, classes: int = 80) -> dict[str, list]:
    """Random images of (height, width) with ``OBJECTS`` boxes and masks each, as from a loader."""
    rng, (height, width) = np.random.default_rng(0), size
    with DefaultScope.overwrite_default_scope("mmdet"):
        from mmdet.structures.bbox import HorizontalBoxes
        from mmdet.structures.mask import BitmapMasks

        pack = TRANSFORMS.build(dict(type="PackDetInputs", meta_keys=META_KEYS))
    samples = []
    for index in range(count):
        start = rng.uniform(0, [width / 2, height / 2], (OBJECTS, 2))
        sides = rng.uniform(min(32, height / 4), height / 2, (OBJECTS, 2))
        boxes = np.hstack([start, start + sides])
        masks = np.zeros((OBJECTS, height, width), np.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
            mask[top:bottom, left:right] = 1
        samples.append(
            pack(
                dict(
                    img=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
                    img_id=index,
                    img_path="",
                    img_shape=size,
                    ori_shape=size,
                    scale_factor=(1.0, 1.0),
                    gt_bboxes=HorizontalBoxes(torch.tensor(boxes, dtype=torch.float32)),
                    gt_bboxes_labels=rng.integers(0, classes, OBJECTS),
                    gt_ignore_flags=np.zeros(OBJECTS, bool),
                    gt_masks=BitmapMasks(masks, height, width),
                )
            )
        )
    return {key: [sample[key] for sample in samples] for key in ("inputs", "data_samples")}


def training_step(cfg: Config, device: str, size: tuple[int, int], count: int) -> Step:
    """One training iteration, without the optimizer, of a detector on random images."""
    whole = WholeModel(cfg).to(device)
    whole.model.train()
    data = training_data(size, count)

    def step() -> None:
        whole.model.zero_grad(set_to_none=True)
        with (
            DefaultScope.overwrite_default_scope("mmdet"),
            _bfloat16(device),
        ):
            batch = whole.model.data_preprocessor(data, training=True)
            losses = whole.model(**batch, mode="loss")
        whole.model.parse_losses(losses)[0].backward()

    return step


def views_step(cfg: Config, device: str, size: tuple[int, int], stock: bool) -> Step:
    """The test of one image in all views of the config: ours, or mmdet's.

    mmdet's ``DetTTAModel`` refuses masks, so they are dropped before it merges. Its views are
    resized before the timed step, as by its loader; ours are resized in the step.
    """
    whole = WholeModel(cfg).to(device).eval()
    data = whole.batch(1, size)
    whole.let_candidates_pass(data)
    views = views_of(cfg)
    if stock:
        data = _all_views(views, data["inputs"][0])
        model = _boxes_only(whole.model, [view.flip for view in views.views])
        predict = model.test_step
    else:

        def predict(batch):
            return views.predict(whole.model, batch)

    def step() -> None:
        with (
            torch.no_grad(),
            DefaultScope.overwrite_default_scope("mmdet"),
            _bfloat16(device),
        ):
            predict(data)

    return step


def views_of(cfg: Config) -> object:
    """The config's ``tta_views``, as ``tools/test.py --tta`` builds them."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    resize = next(step for step in pipeline if step["type"] == "Resize")
    return TASK_UTILS.build(dict(cfg.tta_views, resize=resize))


def _bfloat16(device: str) -> torch.autocast:
    """Autocast on a GPU; CPUs without bf16 instructions would take minutes."""
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


def _all_views(views, image: torch.Tensor) -> dict[str, list]:
    from convnext_dense.detection.tta import make_view

    pairs = [make_view(image, views.resizes[view.scale], view.flip) for view in views.views]
    inputs, samples = ([[item] for item in column] for column in zip(*pairs, strict=True))
    return dict(inputs=list(inputs), data_samples=list(samples))


def _boxes_only(model: torch.nn.Module, flips: list[bool]) -> torch.nn.Module:
    from mmdet.models.test_time_augs import DetTTAModel

    class BoxesOnly(DetTTAModel):
        def merge_preds(self, data_samples_list):
            for sample, flip in zip(data_samples_list[0], flips, strict=True):
                sample.pred_instances.pop("masks", None)
                # Not earlier: mmdet's mask branch fails for flipped images.
                sample.set_metainfo(dict(flip=flip, flip_direction="horizontal"))
            return super().merge_preds(data_samples_list)

    merging = ConfigDict(nms=dict(type="nms", iou_threshold=0.5), max_per_img=100)
    return BoxesOnly(module=model, tta_cfg=merging)
