"""What the heads of mmdet's detectors say about classes and masks in a config: a table.

mmdet has no rule for it: the number of classes stands in each head, under one name or another, and
a mask branch is a head, a type of head, or the whole model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from convnext_dense.config.config_tree import SPLITS, evaluators, walk
from convnext_dense.data.class_weights import check_class_weights
from convnext_dense.data.coco.evaluation_limits import METRIC
from convnext_dense.errors import UserError


@dataclass(frozen=True)
class ClassEntries:
    """The entries of a head's config that count classes.

    Attributes:
        number: The entry with the number of classes.
        others: Entries that data of instances settles besides, with their values.
        two_weights: A ``class_weight`` of two numbers is that of every class and that of the
            background. Mask2Former needs a number for each.
    """

    number: str = "num_classes"
    others: Mapping[str, int] = field(default_factory=dict)
    two_weights: bool = False


CLASSES = ClassEntries()
THINGS = ClassEntries("num_things_classes", {"num_stuff_classes": 0}, two_weights=True)
# Place of a head in a model's config -> its entries. A detector with RoI heads has them there.
HEADS = {
    "bbox_head": CLASSES,  # single-stage detectors and those of queries (DETR, DINO)
    "mask_head": CLASSES,  # SOLO, YOLACT
    "teacher_bbox_head": CLASSES,
    "panoptic_head": THINGS,
    "panoptic_fusion_head": THINGS,
    "roi_head.bbox_head": CLASSES,
    "roi_head.mask_head": CLASSES,
    "roi_head.mask_iou_head": CLASSES,
    "roi_head.point_head": CLASSES,
    "roi_head.glbctx_head": CLASSES,
}
# Places and types of heads that tell no classes of the data apart.
CLASS_AGNOSTIC = (
    "rpn_head",
    "roi_head.grid_head",
    "roi_head.feat_relay_head",
    "roi_head.semantic_head",
    "roi_head.shared_head",
)
CLASS_AGNOSTIC_TYPES = ("CondInstMaskHead", "BoxInstMaskHead")
# Heads of boxes and masks in one -> the same head without its masks; the settings hold where the
# config states none: exp_on_reg is that of mmdet's recipe, with_objectness the default with masks.
SEPARATE_NORMS = dict(type="RTMDetSepBNHead", exp_on_reg=True, with_objectness=False)
BOXES_ALONE = {
    "WholeMasksRTMDetHead": SEPARATE_NORMS,
    "RTMDetInsSepBNHead": SEPARATE_NORMS,
    "RTMDetInsHead": dict(type="RTMDetHead"),
}
MASK_SETTINGS = (
    "loss_mask",
    "num_prototypes",
    "dyconv_channels",
    "num_dyconvs",
    "mask_loss_stride",
)
ROI_MASKS = ("mask_head", "mask_roi_extractor")
MASKS_ALONE = ("mask_head", "panoptic_head")  # of models that are nothing without masks
NEED_MASKS = ("CopyPaste", "PasteObjects")  # steps of a pipeline, whatever the model predicts
ASSUMED = 80  # classes of COCO


def set_num_classes(cfg: Config, num_classes: int, source: str) -> None:
    """Sets the number of classes of every head that does not fix it.

    What follows from it in mmdet (DINO's label embedding, a query's logits) is built by the model.

    Args:
        cfg: A config; changed in place.
        num_classes: Of the data or the checkpoint.
        source: Its name for a message.

    Raises:
        UserError: When a head fixes another number, or it is not known where a head counts classes.
    """
    for key, head, entries in _heads(cfg.model):
        for name, value in {entries.number: num_classes, **entries.others}.items():
            if head.setdefault(name, value) == value:
                continue
            if name != entries.number:
                raise UserError(
                    f"model.{key} has {name}={head[name]}, and {source} gives instances alone: "
                    f"give {name}={value}."
                )
            raise UserError(
                f"model.{key} is built for {head[name]} classes but {source} gives {num_classes}: "
                f"remove {name} from the config."
            )
        if entries.two_weights:
            _spread_weights(head, num_classes)


def assume_num_classes(cfg: Config) -> None:
    """Gives COCO's number of classes to heads without one: to look at a model without data."""
    for _, head, entries in _heads(cfg.model):
        for name, value in {entries.number: ASSUMED, **entries.others}.items():
            head.setdefault(name, value)
        if entries.two_weights:
            _spread_weights(head, head[entries.number])


def check_head_weights(cfg: Config, classes: tuple[str, ...]) -> None:
    """Compares every ``class_weight`` of the heads with the classes.

    Raises:
        UserError: See :func:`convnext_dense.data.class_weights.check_class_weights`.
    """
    for key, head, _ in _heads(cfg.model):
        check_class_weights(head, f"model.{key}", classes, background=True)


def _spread_weights(head: ConfigDict, num_classes: int) -> None:
    for loss in walk(head):
        weights = loss.get("class_weight")
        if isinstance(weights, list | tuple) and len(weights) == 2:
            loss.class_weight = [weights[0]] * num_classes + [weights[1]]


def _heads(model: ConfigDict) -> Iterator[tuple[str, ConfigDict, ClassEntries]]:
    """The heads that count classes: place, config, entries; a cascade has several at one place.

    Raises:
        UserError: For a head of which nobody knows where it counts classes.
    """
    for inside, part in _detectors(model):
        groups = {"": part, "roi_head.": part.get("roi_head") or {}}
        named = {
            f"{group}{name}": head
            for group, node in groups.items()
            for name, head in node.items()
            if name.endswith("_head") and name != "roi_head" and head
        }
        for place, heads in named.items():
            for head in heads if isinstance(heads, list) else [heads]:
                if place in CLASS_AGNOSTIC or _kind(head) in CLASS_AGNOSTIC_TYPES:
                    continue
                if place not in HEADS and "num_classes" not in head:
                    raise UserError(
                        f"model.{inside}{place} ({_kind(head)}) is a head whose number of classes "
                        "is not known here: state its num_classes in the config."
                    )
                yield f"{inside}{place}", head, HEADS.get(place, CLASSES)


def _detectors(model: ConfigDict, place: str = "") -> Iterator[tuple[str, ConfigDict]]:
    """The detector, or those inside of it: semi-supervised training has one in ``detector``."""
    if "backbone" in model:
        yield place, model
        return
    for name, part in model.items():
        if isinstance(part, dict):
            yield from _detectors(part, f"{place}{name}.")


def _kind(head: Mapping[str, Any]) -> str:
    return str(head.get("type", "")).rpartition(".")[2]


def predicts_masks(model: ConfigDict) -> bool:
    """Whether a model of this config finds masks beside boxes."""
    return any(
        (part.get("roi_head") or {}).get("mask_head")
        or _kind(part.get("bbox_head") or {}) in BOXES_ALONE
        or any(part.get(name) for name in MASKS_ALONE)
        for _, part in _detectors(model)
    )


def drop_mask_branch(cfg: Config) -> None:
    """Turns a detector with masks into one of boxes: for data or a checkpoint without masks.

    Raises:
        UserError: For a model that finds masks and nothing else.
    """
    before = predicts_masks(cfg.model)
    for place, part in _detectors(cfg.model):
        for name in MASKS_ALONE:
            if part.get(name) and _reads_masks(cfg):
                raise UserError(
                    f"model.{place}{name} learns from masks, and there are none in the data: take "
                    "a detector of boxes, such as RTMDet or DINO, or data with masks."
                )
        for name in ROI_MASKS:
            (part.get("roi_head") or {}).pop(name, None)
        head = part.get("bbox_head") or {}
        if of_boxes := BOXES_ALONE.get(_kind(head)):
            for name in MASK_SETTINGS:
                head.pop(name, None)
            head.update({**of_boxes, **head}, type=of_boxes["type"])
    if before:
        print_log("Without masks in the data or the checkpoint, the model has no mask branch.")
    evaluate_boxes_only(cfg)


def _reads_masks(cfg: Config) -> bool:
    nodes = walk(cfg.get("train_dataloader") or cfg.get("test_dataloader"))
    return any(node.get("with_mask") for node in nodes)


def read_what_is_predicted(cfg: Config) -> None:
    """Leaves masks out where the model predicts none, unless images are mixed by them."""
    if predicts_masks(cfg.model):
        return
    mixes = any(node.get("type") in NEED_MASKS for node in walk(cfg.get("train_dataloader")))
    evaluate_boxes_only(cfg, SPLITS[1:] if mixes else SPLITS)


def evaluate_boxes_only(cfg: Config, splits: tuple[str, ...] = SPLITS) -> None:
    """Neither reads nor evaluates the masks of some splits."""
    for split in splits:
        # Hooks may hold a pipeline for the last epochs of a training.
        nodes = [
            cfg.get(f"{split}_dataloader"),
            cfg.get("custom_hooks") if split == "train" else [],
        ]
        for node in walk(nodes):
            if node.get("type") == "LoadAnnotations":
                node.with_mask = False
        for evaluator in evaluators(cfg, split):
            if evaluator.get("type") == METRIC:
                evaluator.metric = ["bbox"]
