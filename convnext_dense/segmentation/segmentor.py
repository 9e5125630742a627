"""mmsegmentation's EncoderDecoder with cheaper sliding windows and labels."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmseg.models.decode_heads.psp_head import PPM
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor, nn

from convnext_dense.errors import UserError
from convnext_dense.segmentation.head_losses import head_losses
from convnext_dense.segmentation.heads.mask_heads import classifies_masks, shares

WINDOWS_ON_GPU = 4  # on a CPU one window keeps all cores busy
GROUP_BYTES = 2**30  # of full-size scores at a time, if the scores are not part of the results
REGISTER_BYTES = 64  # size of a CPU's largest vector registers
CHANNELS_LAST_ON = ("cuda",)  # devices on which heads stay channels-last after pooling
MIN_CHANNELS = 4  # number that torch's kernel for channels-last tensors needs


@MODELS.register_module()
class Segmentor(EncoderDecoder):
    """An EncoderDecoder with the same weights, losses and results, at a lower cost.

    - Training does not wait for the device to count correct pixels (:func:`head_losses`).
    - The scores of a window are added in place. mmsegmentation pads them to the whole image first,
      and waits for the device to count the pixels without a window.
    - Several windows can pass through the network at once.
    - If the results do not contain scores, the scores of all classes are never resized to the
      image's size together: 150 classes of 12 megapixels would need 7 GB.

    ``test_cfg`` has two more entries:

    - ``windows_at_once``: number of windows, over all images of a batch. Default:
      :data:`WINDOWS_ON_GPU` on a GPU and 1 on a CPU. It changes memory, speed, and the last bits
      of scores.
    - ``keep_scores``: whether results hold ``seg_logits`` (True). The labels do not depend on it.
    """

    def _init_decode_head(self, decode_head: dict) -> None:
        super()._init_decode_head(decode_head)
        for module in self.decode_head.modules():
            if isinstance(module, PPM):
                module.register_forward_hook(keep_memory_format)

    def _decode_head_forward_train(self, inputs: list[Tensor], data_samples: list) -> dict:
        losses = head_losses(self.decode_head, inputs, data_samples, self.train_cfg)
        return add_prefix(losses, "decode")

    def _auxiliary_head_forward_train(self, inputs: list[Tensor], data_samples: list) -> dict:
        is_list = isinstance(self.auxiliary_head, nn.ModuleList)
        losses = {}
        for number, head in enumerate(self.auxiliary_head if is_list else [self.auxiliary_head]):
            of_head = head_losses(head, inputs, data_samples, self.train_cfg)
            losses |= add_prefix(of_head, f"aux_{number}" if is_list else "aux")
        return losses

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Scores of images from overlapping windows, averaged where windows overlap.

        Args:
            inputs: (N, 3, H, W).
            batch_img_metas: Meta information of each image; not changed. An image that is smaller
                than ``test_cfg.crop_size`` is one window.

        Returns:
            (N, classes, H, W).

        Raises:
            UserError: For windows that leave pixels uncovered.
        """
        count, _, height, width = inputs.shape
        crop = [min(*sides) for sides in zip(self.test_cfg.crop_size, (height, width), strict=True)]
        windows = [
            (..., slice(top, top + crop[0]), slice(left, left + crop[1]))
            for top in window_starts(height, crop[0], self.test_cfg.stride[0])
            for left in window_starts(width, crop[1], self.test_cfg.stride[1])
        ]
        total, num_windows = None, inputs.new_zeros((height, width))
        at_once = self._windows_at_once(inputs)
        for first in range(0, len(windows), at_once):
            group = windows[first : first + at_once]
            crops = torch.cat([inputs[window] for window in group])
            # The heads resize to img_shape if it is a torch.Size.
            size = dict(img_shape=crops.shape[2:], pad_shape=crops.shape[2:])
            metas = [{**meta, **size} for meta in batch_img_metas]
            scores = self.encode_decode(crops, metas * len(group))
            if total is None:  # in the scores' memory format: mixing formats is slow
                shape = (count, self.out_channels, height, width)
                options = dict(dtype=inputs.dtype, device=inputs.device)
                total = torch.empty(shape, memory_format=memory_format(scores), **options).zero_()
            for window, of_window in zip(group, scores.split(count), strict=True):
                total[window] += of_window
                num_windows[window] += 1
        return total.div_(num_windows)

    def _windows_at_once(self, inputs: Tensor) -> int:
        """Number of windows of each image that pass through the network together."""
        default = 1 if inputs.device.type == "cpu" else WINDOWS_ON_GPU
        return max(1, self.test_cfg.get("windows_at_once", default) // len(inputs))

    def postprocess_result(
        self, seg_logits: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Labels in the images' own pixels.

        Args:
            seg_logits: (N, classes, H, W), in pixels of the network's input.
            data_samples: One for each image.

        Returns:
            The samples with ``pred_sem_seg`` (1, height, width), and with ``seg_logits`` (classes,
            height, width) unless ``test_cfg.keep_scores`` is False. Of a head that classifies
            masks they are logarithms of its class scores: as of other heads, a softmax gives
            probabilities.
        """
        if data_samples is None or self.test_cfg.get("keep_scores", True):
            samples = super().postprocess_result(seg_logits, data_samples)
            for sample in samples if classifies_masks(self.decode_head) else ():
                sample.seg_logits = PixelData(data=shares(sample.seg_logits.data).log())
            return samples
        for scores, sample in zip(seg_logits.split(1), data_samples, strict=True):
            sample.pred_sem_seg = PixelData(data=self._labels(scores, sample.metainfo))
        return data_samples

    def _labels(self, scores: Tensor, meta: dict[str, Any]) -> Tensor:
        """Labels (1, height, width) of one image's scores (1, classes, H, W).

        Classes are resized independently, so groups of classes have the same values as all classes
        together. Of equally high scores the first class is taken, as ``argmax`` does.
        """
        best = labels = None
        for first, group in self._class_groups(scores, meta["ori_shape"]):
            (sample,) = super().postprocess_result(group, [SegDataSample(metainfo=meta)])
            label = sample.pred_sem_seg.data
            if scores.shape[1] == 1:
                return label
            value = sample.seg_logits.data.gather(0, label)
            if labels is None:
                best, labels = value, label
                continue
            higher = (value > best) | (value.isnan() & ~best.isnan())  # nan counts as the highest
            best = torch.where(higher, value, best)
            labels = torch.where(higher, label + first, labels)
        return labels

    def _class_groups(self, scores: Tensor, size: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
        """Yields (first class, scores) of groups whose scores of ``size`` stay within the bound.

        torch's CPU kernel for channels-last tensors processes a vector register of channels at a
        time, and rounds the remaining channels differently. So the size of a group is a multiple of
        the register's, and the last group is large enough for that kernel.
        """
        classes, register = scores.shape[1], REGISTER_BYTES // scores.element_size()
        pixels = max(size[0] * size[1], scores[0, 0].numel())
        registers = GROUP_BYTES // (REGISTER_BYTES * pixels)
        group = register * max(1, registers)
        ends = [*range(group, classes - MIN_CHANNELS + 1, group), classes]
        for first, end in pairwise([0, *ends]):
            yield first, scores[:, first:end].contiguous(memory_format=memory_format(scores))


def memory_format(maps: Tensor) -> torch.memory_format:
    """The memory format of feature maps (N, C, H, W): channels-last, or else channels-first."""
    channels_last = maps.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def keep_memory_format(module: nn.Module, inputs: tuple[Tensor], outputs: list) -> list[Tensor]:
    """A forward hook: pooled feature maps (N, C, H, W) get the input's memory format on a GPU.

    A feature map of one pixel has no format. After a BatchNorm torch enlarges it to channels-first,
    and then all later feature maps are channels-first, up to the head's widest concatenation. On a
    CPU this is not changed, since the widest convolution is faster there with channels-first.
    """
    if inputs[0].device.type not in CHANNELS_LAST_ON:
        return outputs
    return [output.contiguous(memory_format=memory_format(inputs[0])) for output in outputs]


def window_starts(length: int, crop: int, stride: int) -> list[int]:
    """Start positions of windows of ``crop`` pixels on a side; the last window ends at the border.

    Raises:
        UserError: For windows that leave pixels uncovered.
    """
    positions = [*range(0, length - crop, stride), length - crop]
    if any(following - position > crop for position, following in pairwise(positions)):
        raise UserError(
            f"model.test_cfg: windows of crop_size {crop} at every stride of {stride} pixels leave "
            "pixels between them without a label: make the stride no larger than the crop."
        )
    return positions
