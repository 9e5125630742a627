"""A trained model as an exporter takes it: a function of tensors, and its description."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.models import CascadeRCNN, FasterRCNN, MaskRCNN
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmseg.models import EncoderDecoder
from torch import Tensor, nn

from convnext_dense.detection.roi_heads import OwnClassCascadeRoIHead, OwnClassRoIHead
from convnext_dense.errors import UserError
from convnext_dense.export.describing import (
    check_fixed,
    classifier_resizing,
    resizing_of,
    statistics_of,
)
from convnext_dense.export.detector import ExportedDetector
from convnext_dense.export.detectors.one_stage import ExportedOneStage, check_one_stage
from convnext_dense.export.layers import adapt
from convnext_dense.export.plain import ExportedBackbone, ExportedClassifier, ExportedSegmentor
from convnext_dense.exported.description import Description, Resizing
from convnext_dense.inference.network import Network
from convnext_dense.inference.trained.classifier import Classifier
from convnext_dense.inference.trained.networks import Detector, Segmentor

BATCH, SIDES = 2, (256, 320)  # of the example that is traced; other sizes take the same graph
DETECTORS = (CascadeRCNN, MaskRCNN, FasterRCNN)
# Others inherit from these and compute something else.
ROI_HEADS = (StandardRoIHead, CascadeRoIHead, OwnClassRoIHead, OwnClassCascadeRoIHead)


@dataclass(frozen=True)
class Exportable:
    """A model that can be exported.

    Attributes:
        module: Maps ``inputs`` to ``outputs``, tensors by position.
        inputs: Examples by name.
        dynamic: The axes of each input that may have any length, where sizes are not fixed.
        description: What ``model.json`` will say, but for the target.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    dynamic: dict[str, tuple[int, ...]]
    description: Description


def exportable(
    network: Network,
    part: str | None = None,
    size: Sequence[int] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
) -> Exportable:
    """A trained network as an exporter takes it; the network itself stays as it is.

    Args:
        network: Of :mod:`convnext_dense.inference.trained`.
        part: ``backbone`` takes the backbone alone.
        size: Height and width of the only input that the graph takes; None for any.
        palette: RGB of each class.

    Raises:
        UserError: For a model that cannot be exported, with the reason.
    """
    if part == "backbone":
        module, facts = _backbone(network)
    elif isinstance(network, Detector):
        module, facts = _detector(network)
    elif isinstance(network, Segmentor):
        module, facts = _segmentor(network)
    else:
        module, facts = _classifier(network)
    own = facts.pop("fixed", None)
    if size is not None and own is not None and tuple(size) != own:
        raise UserError(
            f"--input-size {size[0]} {size[1]}: this classifier sees images of {own[0]} x {own[1]} "
            "pixels: leave --sizes and --input-size out."
        )
    facts["fixed"] = check_fixed(size or own, facts.get("divisor", 1))
    description = Description(
        target="",
        graph="",
        precision="fp32",
        channels=network.reading.channels,
        value_range=network.reading.value_range,
        palette=None if palette is None else tuple(map(tuple, palette)),
        **{"classes": network.classes, **facts},
    )
    return _with_example(module.eval(), description)


def _with_example(module: nn.Module, description: Description) -> Exportable:
    """The module with the inputs that it is traced with."""
    fixed = description.fixed
    count, sides = (1, fixed) if fixed else (BATCH, SIDES)
    mean = torch.tensor(description.mean).reshape(1, -1, 1, 1)
    noise = torch.randn(count, len(description.mean), *sides, generator=torch.Generator())
    inputs = {"pixels": (mean + 50 * noise).clamp(0, 255)}
    dynamic = {} if fixed else {"pixels": (0, 2, 3)}
    if description.task == "detection":
        inputs["sizes"] = torch.tensor([[float(side) for side in sides]] * count)
        dynamic |= {} if fixed else {"sizes": (0,)}
    return Exportable(module, inputs, dynamic, description)


def _detector(network: Detector) -> tuple[nn.Module, dict[str, Any]]:
    model = network.model
    by_regions = isinstance(model, TwoStageDetector)
    (_check_detector if by_regions else check_one_stage)(model)
    preprocessor = model.data_preprocessor
    with_masks = by_regions and model.roi_head.with_mask
    outputs = ["boxes", "scores", "labels"] + (["masks"] if with_masks else [])
    settings = model.roi_head.test_cfg if by_regions else model.test_cfg
    exported = ExportedDetector if by_regions else ExportedOneStage
    facts = dict(
        task="detection",
        resizing=resizing_of(network.opened.config),
        divisor=preprocessor.pad_size_divisor,
        mean=statistics_of(preprocessor)[0],
        outputs=tuple(outputs),
        mask_threshold=settings.get("mask_thr_binary", 0.5),
    )
    return adapt(exported(deepcopy(model))), facts


def _check_detector(model: nn.Module) -> None:
    """Refuses detectors that :class:`ExportedDetector` does not compute.

    Raises:
        UserError: Names the part.
    """
    name = type(model).__name__
    if type(model) not in DETECTORS or type(model.roi_head) not in ROI_HEADS:
        raise UserError(
            f"{name} cannot be exported yet: of the detectors, Faster, Mask and Cascade (Mask) "
            "R-CNN and RTMDet without masks can; --part backbone exports the backbone of any model."
        )
    heads = [head for head in model.roi_head.modules() if hasattr(head, "bbox_coder")]
    for part in (model.rpn_head, *heads):
        if type(part.bbox_coder) is not DeltaXYWHBBoxCoder:
            raise UserError(
                f"{type(part).__name__} of {name} has boxes in the code of "
                f"{type(part.bbox_coder).__name__}: only DeltaXYWHBBoxCoder can be exported."
            )
    for part, settings in (("rpn", model.rpn_head.test_cfg), ("rcnn", model.roi_head.test_cfg)):
        if (kind := settings.nms.get("type", "nms")) != "nms":
            raise UserError(
                f"model.test_cfg.{part}.nms.type is {kind}, and only plain nms can be exported: "
                f"give --cfg-options model.test_cfg.{part}.nms.type=nms, and test it so."
            )


def _segmentor(network: Segmentor) -> tuple[nn.Module, dict[str, Any]]:
    model = network.model
    if not isinstance(model, EncoderDecoder) or isinstance(model.decode_head, nn.ModuleList):
        raise UserError(
            f"{type(model).__name__} cannot be exported yet: of the segmentors, encoder-decoders "
            "with one decode head can; --part backbone exports the backbone of any model."
        )
    settings, window = model.test_cfg, None
    if settings.mode == "slide":
        window = tuple(settings.crop_size), tuple(settings.stride)
    facts = dict(
        task="segmentation",
        resizing=resizing_of(network.opened.config),
        mean=statistics_of(model.data_preprocessor)[0],
        outputs=("logits",),
        window=window,
        threshold=network.threshold,
    )
    return adapt(ExportedSegmentor(deepcopy(model))), facts


def _classifier(network: Classifier) -> tuple[nn.Module, dict[str, Any]]:
    trained = network.trained
    resizing = classifier_resizing(trained.transform)
    side = trained.transform["size"]
    facts = dict(
        task="classification",
        resizing=resizing,
        mean=statistics_of(trained.preprocessor)[0],
        outputs=("logits",),
        fixed=(side, side),
    )
    return adapt(ExportedClassifier(deepcopy(trained.network), trained.preprocessor)), facts


def _backbone(network: Network) -> tuple[nn.Module, dict[str, Any]]:
    if isinstance(network, Classifier):
        raise UserError(
            "A classifier has no feature maps of its own: export it whole, or name a detector or "
            "segmentor with --part backbone."
        )
    backbone, preprocessor = network.model.backbone, network.model.data_preprocessor
    count = len(getattr(backbone, "out_indices", range(4)))
    facts = dict(
        task="backbone",
        classes=(),
        resizing=Resizing("none"),
        mean=statistics_of(preprocessor)[0],
        outputs=tuple(f"stage{number}" for number in range(count)),
    )
    return adapt(ExportedBackbone(deepcopy(backbone), preprocessor)), facts
