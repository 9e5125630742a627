"""Backbones, classifiers and segmentors as functions of tensors, for an exporter."""

from typing import Any

from torch import Tensor, nn

from convnext_dense.export.layers import normalise, resize_to


class ExportedBackbone(nn.Module):
    """A backbone, from pixels to its feature maps.

    Args:
        backbone: Maps (N, C, H, W) to a tuple of feature maps.
        statistics: Module whose buffers ``mean`` and ``std`` normalise pixels.
    """

    def __init__(self, backbone: nn.Module, statistics: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", statistics.mean.reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", statistics.std.reshape(1, -1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of pixels (B, C, H, W), RGB from 0 to 255."""
        return self.backbone(normalise(pixels, self.mean, self.std))


class ExportedClassifier(ExportedBackbone):
    """A classifier, from pixels (B, C, H, W) to ``logits`` (B, classes)."""

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        """The logits of pixels, RGB from 0 to 255."""
        return (self.backbone(normalise(pixels, self.mean, self.std)),)


class ExportedSegmentor(ExportedBackbone):
    """An encoder-decoder of mmsegmentation, from pixels to the scores of each of them.

    Args:
        model: The built model.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model.backbone, model.data_preprocessor)
        self.neck = model.neck if model.with_neck else None
        self.head = model.decode_head

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        """``logits`` (B, classes, H, W) of pixels (B, C, H, W), RGB from 0 to 255."""
        maps = self.backbone(normalise(pixels, self.mean, self.std))
        logits = self.head(maps if self.neck is None else self.neck(maps))
        return (resize_to(logits, pixels, self.head.align_corners),)
