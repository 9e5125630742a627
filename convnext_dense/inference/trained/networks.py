"""Built detectors and segmentors of the toolboxes: images in, plain arrays out."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope

from convnext_dense.config.config_tree import datasets
from convnext_dense.config.plain import building_registered_classes_alone
from convnext_dense.data.bands.reading import RGB
from convnext_dense.data.bands.settings import reading_of
from convnext_dense.data.class_names import class_names
from convnext_dense.data.images import explaining_opencv
from convnext_dense.engine.multi_view_test import build_views, use_views
from convnext_dense.errors import UserError
from convnext_dense.inference.instances import Instances
from convnext_dense.inference.network import Network, Scores, Segments
from convnext_dense.inference.trained.opening import Opened
from convnext_dense.inference.trained.surroundings import reading_safely
from convnext_dense.tasks import task_of
from convnext_dense.weights.checkpoints import check_parts, compare

# Steps that read files, which images in memory do without.
READING = ("LoadImage", "LoadImageFromFile", "LoadAnnotations", "LoadLabels", "LoadSegments")
META_KEYS = ("img_id", "ori_shape", "img_shape", "scale_factor")


class ToolboxNetwork(Network):
    """A model of mmdet or mmsegmentation with the test pipeline of its config.

    The steps are those of the test, and images are batched with images of the same size alone: a
    larger neighbour would pad an image, and change what the network sees at its border.

    Args:
        opened: The checkpoint and its config.
        device: Where to run.

    Raises:
        UserError: For a checkpoint whose classes nothing names, or that is another model's.
    """

    def __init__(self, opened: Opened, device: torch.device) -> None:
        cfg, content, source = opened.config, opened.content, opened.source
        task = task_of(cfg)
        check_parts(cfg.model, content, source)
        with building(opened):
            self.classes = class_names(cfg, content, source)
            task.fit_to_checkpoint(cfg, content, source, self.classes)
            task.keep_scores(cfg, None)
            cfg.model.backbone.init_cfg = None
            self.model = MODELS.build(cfg.model)
            state, differences = compare(self.model, content)
            if differences:
                raise UserError(
                    f"{source} is not a checkpoint of {opened.config_source}: {differences}"
                )
            self.model.load_state_dict(state)
            self.model.to(device).eval()
            self.pipeline = _pipeline(cfg)
        self.reading = reading_of(cfg)
        self.opened = opened

    def working(self) -> AbstractContextManager[None]:
        """Nothing that is read executes code, and libraries do not warn of themselves."""
        return reading_safely()

    def check_views(self) -> None:
        """Refuses a config without views, and a model whose results cannot be merged.

        Raises:
            UserError: With the reason.
        """
        self._views[0].check_model(self.model)

    def prepare(self, image: np.ndarray, name: str, views: bool) -> dict[str, Any]:
        """The image after the test pipeline; for several views without its resizing."""
        colours = self.reading.channels == RGB
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if colours else image
        size = pixels.shape[:2]
        pipeline = self._views[1] if views else self.pipeline
        sample = dict(img=pixels, img_shape=size, ori_shape=size, img_id=0)
        with explaining_opencv(f"{name} ({size[1]} x {size[0]} pixels)"):
            return pipeline(sample)

    def size(self, prepared: dict[str, Any]) -> tuple[int, ...]:
        """The size of the network's input."""
        return tuple(prepared["inputs"].shape)

    @torch.no_grad()
    def samples(self, prepared: Sequence[dict[str, Any]], views: bool = False) -> list[Any]:
        """The toolbox's data samples of prepared images of one size."""
        batch = pseudo_collate(list(prepared))
        if views:
            return self._views[0].predict(self.model, batch)
        return self.model.test_step(batch)

    @cached_property
    def _views(self) -> tuple[Any, Compose]:
        """The config's views, and the pipeline that leaves images as they are.

        Raises:
            UserError: For a config without views.
        """
        cfg = deepcopy(self.opened.config)
        with building(self.opened):
            use_views(cfg)
            return build_views(cfg.test_cfg.views), _pipeline(cfg)


@contextmanager
def building(opened: Opened) -> Iterator[None]:
    """Builds in the toolbox's scope; what a checkpoint's own config names must be registered.

    Raises:
        UserError: For a stored config that names anything else.
    """
    closed = building_registered_classes_alone() if opened.stored else nullcontext()
    with DefaultScope.overwrite_default_scope(opened.config.default_scope), closed:
        try:
            yield
        except KeyError as error:
            if not opened.stored:
                raise
            reason = str(error.args[0] if error.args else error).split(". ")[0]
            raise UserError(f"{opened.config_source} cannot be built: {reason}.") from error


def _pipeline(cfg: Config) -> Compose:
    """The test pipeline for images in memory: no file to load, no truth to read."""
    (dataset, *_) = [*datasets(cfg, "test"), cfg.test_dataloader.dataset]
    return Compose(
        [
            TRANSFORMS.build({**step, "meta_keys": META_KEYS} if "Pack" in step["type"] else step)
            for step in dataset.pipeline
            if step["type"] not in READING
        ]
    )


class Detector(ToolboxNetwork):
    """A detector, with masks or without."""

    task = "detection"

    def predict(
        self, prepared: Sequence[dict], views: bool = False, probabilities: bool = False
    ) -> list[Instances]:
        """Detections, the highest score first, all that the model's settings keep."""
        return [to_instances(sample) for sample in self.samples(prepared, views)]


def to_instances(sample: Any) -> Instances:
    """The detections of mmdet's ``DetDataSample``; masks are encoded on their device."""
    from convnext_dense.detection.rle import encode_masks  # needs pycocotools

    found = sample.pred_instances
    return Instances(
        found.bboxes.float().cpu().numpy(),
        found.scores.float().cpu().numpy(),
        found.labels.cpu().numpy(),
        encode_masks(found.masks) if "masks" in found else None,
    )


class PanopticSegmentor(ToolboxNetwork):
    """A panoptic model."""

    task = "panoptic"

    def predict(
        self, prepared: Sequence[dict], views: bool = False, probabilities: bool = False
    ) -> list[Segments]:
        """The segments of each image."""
        return [self._segments(sample) for sample in self.samples(prepared, views)]

    def _segments(self, sample: Any) -> Segments:
        from convnext_dense.panoptic.metric import to_segments  # needs mmdet

        found = to_segments(sample.pred_panoptic_seg.sem_seg[0].cpu().numpy(), len(self.classes))
        labels = np.array(list(found.labels.values()), np.int64)
        return Segments(found.ids, labels, self.model.num_things_classes)


class Segmentor(ToolboxNetwork):
    """A segmentor."""

    task = "segmentation"

    @property
    def threshold(self) -> float | None:
        """The probability from which the second of two classes is chosen; None for more channels.

        For a head with one channel, which tells two classes apart.
        """
        head = self.model.decode_head
        return head.threshold if head.out_channels == 1 else None

    def predict(
        self, prepared: Sequence[dict], views: bool = False, probabilities: bool = False
    ) -> list[Scores]:
        """A label for every pixel, with the probability of every class on request."""
        if views and probabilities:
            return [self._mean_of_views(one) for one in prepared]
        self.model.test_cfg["keep_scores"] = probabilities  # only our Segmentor leaves them out
        return [
            Scores(
                self._labels(sample.pred_sem_seg.data[0]),
                _probabilities(sample.seg_logits.data) if probabilities else None,
            )
            for sample in self.samples(prepared, views)
        ]

    def _labels(self, labels: torch.Tensor) -> np.ndarray:
        return labels.cpu().numpy().astype(np.uint8 if len(self.classes) <= 256 else np.uint16)

    def _mean_of_views(self, prepared: dict) -> Scores:
        strips = list(self._views[0].mean_probabilities(self.model, prepared["inputs"]))
        mean = torch.cat(strips, dim=1)
        if len(mean) == 1:
            labels = mean[0] > self.model.decode_head.threshold
        else:
            labels = mean.argmax(dim=0)
        return Scores(self._labels(labels), _both(mean).cpu().numpy())


def _probabilities(logits: torch.Tensor) -> np.ndarray:
    """Softmax over the classes; mmsegmentation has applied the sigmoid of a single channel."""
    values = logits.float().cpu()
    return (_both(values) if len(values) == 1 else values.softmax(dim=0)).numpy()


def _both(values: torch.Tensor) -> torch.Tensor:
    """The probabilities of both classes where one channel tells the second one's."""
    return torch.cat([1 - values, values]) if len(values) == 1 else values
