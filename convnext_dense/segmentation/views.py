"""Multi-scale and flip testing of labels (``tools/test.py --tta``): the paper's "+ms" column.

The protocol of the published figures: scales are ratios of the test scale (mmsegmentation 1 takes
them of the picture's own size), whole pictures instead of windows, probabilities averaged.
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

from convnext_dense.data.prefetch import ahead
from convnext_dense.errors import UserError
from convnext_dense.segmentation.resizing import Rows, needed_rows, resize_rows
from convnext_dense.segmentation.segmentor import Segmentor


@dataclass(frozen=True)
class Scores:
    """What the head says of one view, before it is resized.

    Attributes:
        maps: (channels, h, w), at the head's own stride.
        size: Height and width of the view in pixels.
        padded: Height and width of what the network saw: the view, padded at the right and below
            where ``data_preprocessor.test_cfg`` says so. The maps are of all of that.
    """

    maps: Tensor
    size: tuple[int, int]
    padded: tuple[int, int]


@TASK_UTILS.register_module()
class SegmentationViews:
    """Tests a segmentor in several scales, each also mirrored, and averages the probabilities.

    The views of a picture have their turn one after the other. What is kept of each is the head's
    small map (a sixteenth of the view's pixels for UperNet); resizing, softmax and averaging are
    done at the end in strips of rows. So no map of all classes exists at the picture's size:
    150 classes of a 12-megapixel picture would be 7 GB. A mirrored view is flipped before it is
    resized, so a flipped picture has the flipped result, to the last bit.

    A head with one channel is activated (sigmoid) once, and the mean is compared with its
    threshold; mmsegmentation activates such a head twice.

    Args:
        ratios: Scales as parts of the test pipeline's scale.
        flip: Also look at the mirrored picture in every scale.
        resize: The test pipeline's ``Resize`` step: the scale, and how to interpolate.
        strip_memory: Bound of the strips in MiB. It changes memory and speed, never the result.

    Raises:
        UserError: For ratios, a bound or a resizing step that cannot be used.
    """

    def __init__(
        self,
        ratios: Sequence[float],
        flip: bool,
        resize: dict[str, Any],
        strip_memory: float = 256,
    ) -> None:
        # Sorted: neither the order in the config nor a repeated ratio changes a sum.
        self.ratios = sorted({_ratio(ratio) for ratio in _several(ratios)})
        if not self.ratios:
            raise UserError("tta_views.ratios is empty: give at least one, such as 1.0.")
        self.flips = (False, True) if flip else (False,)
        if not resize.get("keep_ratio") or not resize.get("scale"):
            raise UserError("--tta needs a Resize with scale and keep_ratio=True in the test.")
        how = {key: value for key, value in resize.items() if key != "type"}
        scale = tuple(how["scale"])
        self.single = Resize(**{**how, "scale": scale})
        self.resizes = [
            Resize(**{**how, "scale": tuple(int(side * ratio) for side in scale)})
            for ratio in self.ratios
        ]
        if not strip_memory > 0:
            raise UserError(f"tta_views.strip_memory must be above 0 (MiB), got {strip_memory}.")
        self.strip_bytes = int(strip_memory * 2**20)

    def __len__(self) -> int:
        """Number of views of a picture."""
        return len(self.ratios) * len(self.flips)

    @torch.no_grad()
    def predict(self, model: nn.Module, batch: dict[str, list]) -> list[SegDataSample]:
        """Tests every picture of a batch, one after the other.

        Args:
            model: A segmentor in evaluation mode.
            batch: ``inputs``: pictures (3, height, width) as read; ``data_samples``.

        Returns:
            The data samples with ``pred_sem_seg`` in the pictures' own pixels.

        Raises:
            UserError: For a segmentor of another kind.
        """
        check_supported(model)
        for image, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
            sample.pred_sem_seg = PixelData(data=self.predict_picture(model, image))
        return batch["data_samples"]

    @torch.no_grad()
    def predict_single_scale(self, model: nn.Module, batch: dict[str, list]) -> list:
        """Tests the same batch as the plain test does, at the pipeline's own scale.

        The plain test takes pictures of several sizes one by one alone, and so does this.
        """
        if len({image.shape for image in batch["inputs"]}) > 1:
            one_by_one = (dict(inputs=[image]) for image in batch["inputs"])
            return [self.predict_single_scale(model, one)[0] for one in one_by_one]
        inputs = [resized(image, self.single, flip=False) for image in batch["inputs"]]
        samples = [
            SegDataSample(
                metainfo=dict(ori_shape=tuple(image.shape[1:]), img_shape=tuple(view.shape[1:]))
            )
            for image, view in zip(batch["inputs"], inputs, strict=True)
        ]
        return model.test_step(dict(inputs=inputs, data_samples=samples))

    def predict_picture(self, model: EncoderDecoder, image: Tensor) -> Tensor:
        """Labels (1, height, width) of one picture (3, height, width) from all views."""
        labels = [
            mean[0] > model.decode_head.threshold if len(mean) == 1 else mean.argmax(dim=0)
            for mean in self.mean_probabilities(model, image)
        ]
        return torch.cat(labels)[None].long()

    @torch.no_grad()
    def mean_probabilities(self, model: EncoderDecoder, image: Tensor) -> Iterator[Tensor]:
        """The views' mean for one picture (3, height, width), strip by strip from the top.

        Yields:
            (channels, rows of the strip, width), in [0, 1].
        """
        size = tuple(image.shape[1:])
        views = list(product(self.resizes, self.flips))
        scores = [look(model, view) for view in ahead(lambda view: resized(image, *view), views)]
        count = len(self.flips)
        turns = [scores[first : first + count] for first in range(0, len(scores), count)]
        for rows in self._strips(turns, size):
            total = 0
            for turn in turns:
                # First the pair: its sum is the same for the picture and for its mirror image.
                pair = [
                    probabilities(scores, rows, size, model.decode_head.align_corners)
                    for scores in turn
                ]
                total = total + (pair[0] + pair[1].flip(-1) if len(pair) == 2 else pair[0])
            yield total / len(self)

    def _strips(self, turns: list[list[Scores]], size: tuple[int, int]) -> list[Rows]:
        """Cuts the picture's rows into strips whose maps stay within the bound."""
        height, width = size
        # The largest view's strip, the same resized, two probabilities and the sum.
        row = 4 * width + max(
            2 * -(-scores.size[0] // height) * scores.padded[1] for turn in turns for scores in turn
        )
        maps = turns[0][0].maps
        step = max(1, self.strip_bytes // (len(maps) * maps.element_size() * row))
        return [Rows(start, min(start + step, height)) for start in range(0, height, step)]


def probabilities(scores: Scores, rows: Rows, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Probabilities (channels, rows, width) of some rows of a picture of ``size`` from one view.

    As in mmsegmentation, the scores are resized to the network's pixels, their padding is cut off,
    and the rest is resized to the picture's.
    """
    view_rows = needed_rows(rows, scores.size[0], size[0], align_corners)
    map_height = scores.maps.shape[1]
    every_row = Rows(0, map_height)
    maps = resize_rows(scores.maps, every_row, map_height, view_rows, scores.padded, align_corners)
    maps = maps[..., : scores.size[1]]
    maps = resize_rows(maps, view_rows, scores.size[0], rows, size, align_corners)
    return activated(maps)


def activated(maps: Tensor) -> Tensor:
    """Softmax over the channels (channels, rows, width), or the sigmoid of a single one.

    torch's own differ in the last bit with the number of rows, since they treat the end of an
    array in another way than its middle. Here the result of a pixel is the same in every strip.
    """
    if len(maps) == 1:
        return 1 / (1 + (-maps).exp())
    weights = (maps - maps.amax(dim=0)).exp()
    total = weights[0].clone()
    for weight in weights[1:]:  # in this order, whatever the shape
        total += weight
    return weights / total


def look(model: EncoderDecoder, view: Tensor) -> Scores:
    """The head's scores of one view (3, height, width)."""
    data = dict(inputs=[view], data_samples=[SegDataSample()])  # which it notes the padding in
    inputs = model.data_preprocessor(data, False)["inputs"]
    (maps,) = model.decode_head(model.extract_feat(inputs))
    return Scores(maps.float(), tuple(view.shape[1:]), tuple(inputs.shape[2:]))


def resized(image: Tensor, resize: Resize, flip: bool) -> Tensor:
    """A view of a picture, both (channels, height, width), uint8."""
    pixels = image.permute(1, 2, 0).numpy()
    done = resize.transform(dict(img=np.ascontiguousarray(pixels[:, ::-1] if flip else pixels)))
    view = np.atleast_3d(done["img"])  # OpenCV drops a single channel
    return torch.from_numpy(view).permute(2, 0, 1).contiguous()


def check_supported(model: nn.Module) -> None:
    """Refuses segmentors that do more than this module repeats."""
    if type(model) not in (Segmentor, EncoderDecoder):
        raise UserError(
            f"--tta knows mmsegmentation's EncoderDecoder (UperNet and others), not "
            f"{type(model).__name__}: test without --tta."
        )


def _several(ratios: Any) -> Sequence[float]:
    return ratios if isinstance(ratios, list | tuple) else [ratios]


def _ratio(ratio: Any) -> float:
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < 100:
        raise UserError(f"tta_views.ratios holds {ratio!r}: a ratio is a number above 0.")
    return float(ratio)
