"""Multi-scale and flip testing of labels (``tools/test.py --tta``): the paper's "+ms" column.

The protocol of the published figures: scales are ratios of the test scale (in mmsegmentation 1
they are ratios of the image's size), whole images instead of windows, averaged probabilities.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from mmcv.transforms import Resize
from mmengine.registry import TASK_UTILS
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from convnext_dense.data.prefetch import prefetch
from convnext_dense.errors import UserError
from convnext_dense.segmentation.heads.mask_heads import (
    class_scores,
    classifies_masks,
    query_outputs,
    shares,
)
from convnext_dense.segmentation.resizing import Rows, needed_rows, resize_rows
from convnext_dense.segmentation.segmentor import Segmentor


@dataclass(frozen=True)
class Scores:
    """The head's scores of one view, before resizing.

    Attributes:
        maps: (channels, h, w), at the head's stride; they cover the padded view.
        size: Height and width of the view in pixels.
        padded: Height and width of the network's input: the view, padded on the right and at the
            bottom as ``data_preprocessor.test_cfg`` requires.
        classes: Probabilities (channels, classes), where the head classifies masks: ``maps`` holds
            a mask for each channel then.
    """

    maps: Tensor
    size: tuple[int, int]
    padded: tuple[int, int]
    classes: Tensor | None = None


@TASK_UTILS.register_module()
class SegmentationViews:
    """Tests a segmentor at several scales, optionally flipped, and averages the probabilities.

    The views of an image are tested one by one, and the head's scores of each are kept at the
    head's stride (for UperNet a sixteenth of the view's pixels). Resizing, softmax and averaging
    follow at the end, in strips of rows. So the scores of all classes never exist at the image's
    size: 150 classes of a 12-megapixel image would need 7 GB. A view is flipped before it is
    resized, so a flipped image has, bit by bit, the flipped result.

    Of a head that classifies masks the class scores are averaged, as its authors do (Mask2Former's
    ``SemanticSegmentorWithTTA``), and a pixel's then sum to 1.

    For a head with one channel the sigmoid is applied once, and the mean is compared with the
    head's threshold; mmsegmentation applies the sigmoid twice.

    Args:
        ratios: Scales as ratios of the test pipeline's scale.
        flip: Also test the flipped image at each scale.
        resize: The test pipeline's ``Resize`` step: the scale, and the interpolation.
        strip_memory: Memory of a strip in MiB. It changes memory and speed, not the result (where
            masks are classified: not beyond the last bits).

    Raises:
        UserError: For ratios, a memory bound or a resize step that cannot be used.
    """

    def __init__(
        self,
        ratios: Sequence[float],
        flip: bool,
        resize: dict[str, Any],
        strip_memory: float = 256,
    ) -> None:
        # Sorted, so that neither the order of the ratios nor a repeated one changes a sum.
        ratios = ratios if isinstance(ratios, list | tuple) else [ratios]
        self.ratios = sorted({_check_ratio(ratio) for ratio in ratios})
        if not self.ratios:
            raise UserError("tta_views.ratios is empty: give at least one, such as 1.0.")
        self.flips = (False, True) if flip else (False,)
        if not resize.get("keep_ratio") or not resize.get("scale"):
            raise UserError(
                "--tta needs a Resize step with scale and keep_ratio=True in the test pipeline."
            )
        options = {key: value for key, value in resize.items() if key != "type"}
        scale = tuple(options["scale"])
        self.single = Resize(**{**options, "scale": scale})
        self.resizes = [
            Resize(**{**options, "scale": tuple(int(side * ratio) for side in scale)})
            for ratio in self.ratios
        ]
        if not strip_memory > 0:
            raise UserError(f"tta_views.strip_memory must be above 0 (MiB), got {strip_memory}.")
        self.strip_bytes = int(strip_memory * 2**20)

    def __len__(self) -> int:
        """Number of views of an image."""
        return len(self.ratios) * len(self.flips)

    @property
    def facts(self) -> dict[str, bool | int]:
        """What ``metrics.json`` says about a test in several views."""
        return {"tta": True, "tta_views": len(self)}

    def check_model(self, model: nn.Module) -> None:
        """Refuses a segmentor that is not supported.

        Raises:
            UserError: With the reason.
        """
        check_supported(model)

    @torch.no_grad()
    def predict(self, model: nn.Module, batch: dict[str, list]) -> list[SegDataSample]:
        """Tests the images of a batch one by one.

        Args:
            model: A segmentor in evaluation mode.
            batch: ``inputs``: images (3, height, width) as read; ``data_samples``.

        Returns:
            The data samples with ``pred_sem_seg`` in pixels of the original images.

        Raises:
            UserError: For a segmentor that is not supported.
        """
        check_supported(model)
        for image, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
            sample.pred_sem_seg = PixelData(data=self.predict_image(model, image))
        return batch["data_samples"]

    @torch.no_grad()
    def predict_single_scale(self, model: nn.Module, batch: dict[str, list]) -> list:
        """Tests the batch as the plain test does, at the test pipeline's scale.

        As in the plain test, images of different sizes are tested one by one.
        """
        if len({image.shape for image in batch["inputs"]}) > 1:
            batches = (dict(inputs=[image]) for image in batch["inputs"])
            return [self.predict_single_scale(model, single)[0] for single in batches]
        inputs = [make_view(image, self.single, flip=False) for image in batch["inputs"]]
        samples = [
            SegDataSample(
                metainfo=dict(ori_shape=tuple(image.shape[1:]), img_shape=tuple(view.shape[1:]))
            )
            for image, view in zip(batch["inputs"], inputs, strict=True)
        ]
        return model.test_step(dict(inputs=inputs, data_samples=samples))

    def predict_image(self, model: EncoderDecoder, image: Tensor) -> Tensor:
        """Labels (1, height, width) of one image (3, height, width) from all views."""
        labels = [
            mean[0] > model.decode_head.threshold if len(mean) == 1 else mean.argmax(dim=0)
            for mean in self.mean_probabilities(model, image)
        ]
        return torch.cat(labels)[None].long()

    @torch.no_grad()
    def mean_probabilities(self, model: EncoderDecoder, image: Tensor) -> Iterator[Tensor]:
        """Mean probabilities of the views for one image (3, height, width), in strips from the top.

        Yields:
            (channels, rows of the strip, width), in [0, 1].
        """
        size = tuple(image.shape[1:])
        views = list(product(self.resizes, self.flips))
        made = prefetch(lambda view: make_view(image, *view), views)
        scores = [predict_scores(model, view) for view in made]
        count = len(self.flips)
        per_scale = [scores[first : first + count] for first in range(0, len(scores), count)]
        for rows in self._strips(per_scale, size):
            total = 0
            for flipped_pair in per_scale:
                # The pair is added first: its sum is the same for the image and the flipped image.
                pair = [
                    probabilities(scores, rows, size, model.decode_head.align_corners)
                    for scores in flipped_pair
                ]
                total = total + (pair[0] + pair[1].flip(-1) if len(pair) == 2 else pair[0])
            is_mask_head = classifies_masks(model.decode_head)
            yield shares(total) if is_mask_head else total / len(self)

    def _strips(self, per_scale: list[list[Scores]], size: tuple[int, int]) -> list[Rows]:
        """Cuts the image's rows into strips whose probabilities stay within the memory bound."""
        height, width = size
        # A strip of the largest view, the resized strip, two probabilities and the sum.
        row = 4 * width + max(
            2 * -(-scores.size[0] // height) * scores.padded[1]
            for pair in per_scale
            for scores in pair
        )
        maps, classes = per_scale[0][0].maps, per_scale[0][0].classes
        channels = len(maps) + (0 if classes is None else classes.shape[1])
        step = max(1, self.strip_bytes // (channels * maps.element_size() * row))
        return [Rows(start, min(start + step, height)) for start in range(0, height, step)]


def probabilities(scores: Scores, rows: Rows, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Probabilities (channels, rows, width) of some rows of an image of ``size`` from one view.

    Of a head that classifies masks, its scores (classes, rows, width).

    As in mmsegmentation, the scores are resized to the network's input, the padding is cut off, and
    the rest is resized to the image.
    """
    view_rows = needed_rows(rows, scores.size[0], size[0], align_corners)
    map_height = scores.maps.shape[1]
    all_rows = Rows(0, map_height)
    maps = resize_rows(scores.maps, all_rows, map_height, view_rows, scores.padded, align_corners)
    maps = maps[..., : scores.size[1]]
    if scores.classes is not None:
        maps = class_scores(maps, scores.classes)
    maps = resize_rows(maps, view_rows, scores.size[0], rows, size, align_corners)
    return activate(maps) if scores.classes is None else maps


def activate(maps: Tensor) -> Tensor:
    """Softmax over the channels of (channels, rows, width), or the sigmoid of a single channel.

    In torch's softmax and sigmoid the last bit depends on the number of rows, since the end of an
    array is computed differently. Here the result of a pixel is the same in every strip.
    """
    if len(maps) == 1:
        return 1 / (1 + (-maps).exp())
    weights = (maps - maps.amax(dim=0)).exp()
    total = weights[0].clone()
    for weight in weights[1:]:  # a fixed order, independent of the shape
        total += weight
    return weights / total


def predict_scores(model: EncoderDecoder, view: Tensor) -> Scores:
    """The head's scores of one view (3, height, width)."""
    data = dict(inputs=[view], data_samples=[SegDataSample()])  # the sample gets the padding
    inputs = model.data_preprocessor(data, training=False)["inputs"]
    sizes = tuple(view.shape[1:]), tuple(inputs.shape[2:])
    features = model.extract_feat(inputs)
    if classifies_masks(model.decode_head):
        maps, classes = query_outputs(model.decode_head, features)
        return Scores(maps, *sizes, classes)
    (maps,) = model.decode_head(features)
    return Scores(maps.float(), *sizes)


def make_view(image: Tensor, resize: Resize, flip: bool) -> Tensor:
    """Makes a view of an image; both are (channels, height, width), uint8."""
    pixels = image.permute(1, 2, 0).numpy()
    resized = resize.transform(dict(img=np.ascontiguousarray(pixels[:, ::-1] if flip else pixels)))
    view = np.atleast_3d(resized["img"])  # OpenCV drops a single channel
    return torch.from_numpy(view).permute(2, 0, 1).contiguous()


def check_supported(model: nn.Module) -> None:
    """Refuses segmentors that this module does not reproduce."""
    if type(model) not in (Segmentor, EncoderDecoder):
        raise UserError(
            f"--tta supports mmsegmentation's EncoderDecoder (UperNet and others), not "
            f"{type(model).__name__}: leave out --tta."
        )


def _check_ratio(ratio: Any) -> float:
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < 100:
        raise UserError(f"tta_views.ratios holds {ratio!r}: a ratio is a number above 0.")
    return float(ratio)
