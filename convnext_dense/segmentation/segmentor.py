"""mmsegmentation's EncoderDecoder with windows and labels made at a lower cost."""

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

WINDOWS_ON_GPU = 4  # on a CPU one window fills the cores
GROUP_BYTES = 2**30  # of full-size score maps at once, where nobody asks for all of them
REGISTER = 64  # bytes of a CPU's largest vector registers
CHANNELS_LAST_ON = ("cuda",)  # devices whose heads stay channels-last behind pooled maps
FEWEST = 4  # channels that torch's kernel for channels-last maps needs


@MODELS.register_module()
class Segmentor(EncoderDecoder):
    """An EncoderDecoder with the same weights, losses and results.

    Training does not wait for the device to count right pixels (:func:`head_losses`). What else
    differs is what a test picture costs. A window's scores are added where they belong;
    mmsegmentation pads them to the whole picture first, and waits for the device to count the
    pixels without a window. Several windows can pass through the network at once. And where the
    scores of all classes are not asked for, a large picture's never exist at its own size: 150
    classes of 12 megapixels would be 7 GB.

    ``test_cfg`` has two entries more:

    - ``windows_at_once``: of all pictures of a batch. Left out: :data:`WINDOWS_ON_GPU` on a GPU and
      1 on a CPU. It changes memory, speed, and the last bits of scores.
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
        several = isinstance(self.auxiliary_head, nn.ModuleList)
        losses = {}
        for number, head in enumerate(self.auxiliary_head if several else [self.auxiliary_head]):
            found = head_losses(head, inputs, data_samples, self.train_cfg)
            losses |= add_prefix(found, f"aux_{number}" if several else "aux")
        return losses

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Scores of pictures from overlapping windows: the mean where several see a pixel.

        Args:
            inputs: (N, 3, H, W).
            batch_img_metas: One a picture, left as they are. A picture that is smaller than
                ``test_cfg.crop_size`` is a window of its own size.

        Returns:
            (N, classes, H, W).

        Raises:
            UserError: For windows with pixels between them.
        """
        count, _, height, width = inputs.shape
        crop = [min(*sides) for sides in zip(self.test_cfg.crop_size, (height, width), strict=True)]
        windows = [
            (..., slice(top, top + crop[0]), slice(left, left + crop[1]))
            for top in starts(height, crop[0], self.test_cfg.stride[0])
            for left in starts(width, crop[1], self.test_cfg.stride[1])
        ]
        total, seen = None, inputs.new_zeros((height, width))
        at_once = self._windows_at_once(inputs)
        for first in range(0, len(windows), at_once):
            group = windows[first : first + at_once]
            crops = torch.cat([inputs[window] for window in group])
            # The heads resize to img_shape where it is a torch.Size.
            metas = [{**meta, "img_shape": crops.shape[2:]} for meta in batch_img_metas]
            scores = self.encode_decode(crops, metas * len(group))
            if total is None:  # of the scores' memory format: to add across formats is slow
                shape = (count, self.out_channels, height, width)
                how = dict(dtype=inputs.dtype, device=inputs.device)
                total = torch.empty(shape, memory_format=memory_format(scores), **how).zero_()
            for window, part in zip(group, scores.split(count), strict=True):
                total[window] += part
                seen[window] += 1
        return total.div_(seen)

    def _windows_at_once(self, inputs: Tensor) -> int:
        """Windows of each picture that pass through the network together."""
        default = 1 if inputs.device.type == "cpu" else WINDOWS_ON_GPU
        return max(1, self.test_cfg.get("windows_at_once", default) // len(inputs))

    def postprocess_result(
        self, seg_logits: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Labels in the pictures' own pixels.

        Args:
            seg_logits: (N, classes, H, W), in the network's pixels.
            data_samples: One a picture.

        Returns:
            The samples with ``pred_sem_seg`` (1, height, width), and with ``seg_logits`` (classes,
            height, width) unless ``test_cfg.keep_scores`` is False.
        """
        if data_samples is None or self.test_cfg.get("keep_scores", True):
            return super().postprocess_result(seg_logits, data_samples)
        for scores, sample in zip(seg_logits.split(1), data_samples, strict=True):
            sample.pred_sem_seg = PixelData(data=self._labels(scores, sample.metainfo))
        return data_samples

    def _labels(self, scores: Tensor, meta: dict[str, Any]) -> Tensor:
        """Labels (1, height, width) of one picture's scores (1, classes, H, W).

        Every class is resized by itself, so that a few at a time have the values that all have
        together; the first of equally high ones is taken, as ``argmax`` does.
        """
        best = labels = None
        for first, part in self._class_groups(scores, meta["ori_shape"]):
            blank = SegDataSample(metainfo=meta)
            (found,) = super().postprocess_result(part, [blank])
            label = found.pred_sem_seg.data
            if scores.shape[1] == 1:
                return label
            value = found.seg_logits.data.gather(0, label)
            if labels is None:
                best, labels = value, label
                continue
            higher = (value > best) | (value.isnan() & ~best.isnan())  # nan counts as the highest
            best = torch.where(higher, value, best)
            labels = torch.where(higher, label + first, labels)
        return labels

    def _class_groups(self, scores: Tensor, size: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
        """Groups of classes whose maps of ``size`` stay within the bound, with their first one.

        torch's CPU kernel for channels-last maps takes as many channels at once as fill a vector
        register, and rounds those left over in another way. So groups end where registers do, and
        the last is not too small for that kernel.
        """
        classes, register = scores.shape[1], REGISTER // scores.element_size()
        pixels = max(size[0] * size[1], scores[0, 0].numel())
        registers = GROUP_BYTES // (REGISTER * pixels)
        together = register * max(1, registers)
        ends = [*range(together, classes - FEWEST + 1, together), classes]
        for first, end in pairwise([0, *ends]):
            yield first, scores[:, first:end].contiguous(memory_format=memory_format(scores))


def memory_format(maps: Tensor) -> torch.memory_format:
    """Channels-last where the maps (N, C, H, W) are, else channels-first."""
    last = maps.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def keep_memory_format(module: nn.Module, inputs: tuple[Tensor], outputs: list) -> list[Tensor]:
    """A hook of pooled maps (N, C, H, W): on a GPU they get their input's memory format.

    A map of one pixel has no format. After a BatchNorm torch enlarges it to a channels-first one,
    and one such map makes those after it channels-first, up to the head's widest concatenation.
    On a CPU that is left as it is: there the widest convolution is faster on channels-first maps.
    """
    if inputs[0].device.type not in CHANNELS_LAST_ON:
        return outputs
    return [one.contiguous(memory_format=memory_format(inputs[0])) for one in outputs]


def starts(length: int, crop: int, stride: int) -> list[int]:
    """Where windows of ``crop`` pixels begin on a side of ``length``; the last ends with it.

    Raises:
        UserError: For windows with pixels between them.
    """
    found = [*range(0, length - crop, stride), length - crop]
    if any(later - one > crop for one, later in pairwise(found)):
        raise UserError(
            f"model.test_cfg: windows of crop_size {crop} at every stride of {stride} pixels leave "
            "pixels between them without a label: make the stride no larger than the crop."
        )
    return found
