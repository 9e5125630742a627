"""Where the heads of mmdet's and mmsegmentation's models count classes: a table, read and set.

The toolboxes have no rule for it: the number of classes stands in each head, under one name or
another, and a head that classifies masks has a weight for each class besides.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import ConfigDict

from convnext_dense.data.class_weights import check_class_weights, spread_class_weights
from convnext_dense.errors import UserError


@dataclass(frozen=True)
class ClassEntries:
    """The entries of a head's config that count classes.

    Attributes:
        things: The entry with the number of classes; in a panoptic head those of things.
        stuff: The entry with the number of classes of stuff; empty where a head has none.
        background: Whether its classifier tells a background (or "no object") apart too, as its
            last class; None where ``loss_cls`` says so.
        spread: Whether one weight of all classes in ``loss_cls`` is repeated for each of them.
        needs_stuff: Whether the head is nothing without stuff.
    """

    things: str = "num_classes"
    stuff: str = ""
    background: bool | None = True
    spread: bool = False
    needs_stuff: bool = False


DETECTED = ClassEntries()
LABELLED = ClassEntries(background=None, spread=True)
SEGMENTS = ClassEntries("num_things_classes", "num_stuff_classes", spread=True)
STUFF = ClassEntries("num_things_classes", "num_stuff_classes", needs_stuff=True)
COCO_THINGS, COCO_STUFF = 80, 53
# Place of a head in a model's config -> its entries. A detector with RoI heads has them there.
HEADS = {
    "bbox_head": DETECTED,  # single-stage detectors and those of queries (DETR, DINO)
    "mask_head": DETECTED,  # SOLO, YOLACT
    "teacher_bbox_head": DETECTED,
    "roi_head.bbox_head": DETECTED,
    "roi_head.mask_head": DETECTED,
    "roi_head.mask_iou_head": DETECTED,
    "roi_head.point_head": DETECTED,
    "roi_head.glbctx_head": DETECTED,
    "panoptic_head": SEGMENTS,
    "panoptic_fusion_head": SEGMENTS,
    "semantic_head": STUFF,
    "decode_head": LABELLED,
    "auxiliary_head": LABELLED,
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


def set_num_classes(
    model: ConfigDict, things: int, source: str, *, stuff: int | None = None
) -> None:
    """Sets the numbers of classes of every head of a model that does not fix them.

    What follows from them (DINO's label embedding, a query's logits) is built by the model.

    Args:
        model: A model's config; changed in place.
        things: Number of classes; of those that are things where there is stuff too.
        source: The data or the checkpoint that they come from, for a message.
        stuff: Number of classes of stuff; None for a task that does not know them.

    Raises:
        UserError: When a head fixes another number, or it is not known where a head counts classes.
    """
    for key, head, entries in _heads(model):
        if entries.needs_stuff and stuff is None:
            raise UserError(
                f"model.{key} ({kind_of(head)}) learns stuff, and {source} gives instances alone: "
                "take a detector, or panoptic annotations."
            )
        for name, count in _counts(entries, things, stuff):
            if head.setdefault(name, count) != count:
                what = name.removeprefix("num_").replace("_", " ")
                raise UserError(
                    f"model.{key} is built for {head[name]} {what} but {source} gives {count}: "
                    f"remove {name} from the config."
                )
        _spread(head, entries)


def assume_num_classes(model: ConfigDict, things: int, stuff: int | None = None) -> None:
    """Gives numbers of classes to heads without one, in place: to look at a model without data."""
    for _, head, entries in _heads(model):
        for name, count in _counts(entries, things, stuff):
            head.setdefault(name, count)
        _spread(head, entries)


def check_head_weights(model: ConfigDict, things: Sequence[str], stuff: Sequence[str] = ()) -> None:
    """Compares every ``class_weight`` of the heads with the names of the classes.

    Raises:
        UserError: See :func:`convnext_dense.data.class_weights.check_class_weights`.
    """
    for key, head, entries in _heads(model):
        if entries.needs_stuff:  # counts all things as one class
            continue
        names = [*things, *(stuff if entries.stuff else ())]
        background = "loss_cls" in head if entries.background is None else entries.background
        check_class_weights(head, f"model.{key}", names, background)


def _counts(entries: ClassEntries, things: int, stuff: int | None) -> list[tuple[str, int]]:
    found = [(entries.things, things)]
    return [*found, (entries.stuff, stuff or 0)] if entries.stuff else found


def _spread(head: ConfigDict, entries: ClassEntries) -> None:
    if entries.spread:
        stuff = head[entries.stuff] if entries.stuff else 0
        spread_class_weights(head, head[entries.things] + stuff)


def _heads(model: ConfigDict) -> Iterator[tuple[str, ConfigDict, ClassEntries]]:
    """The heads that count classes: place, config, entries; a cascade has several at one place.

    Raises:
        UserError: For a head of which nobody knows where it counts classes.
    """
    for inside, part in models_inside(model):
        groups = {"": part, "roi_head.": part.get("roi_head") or {}}
        named = {
            f"{group}{name}": head
            for group, node in groups.items()
            for name, head in node.items()
            if name.endswith("_head") and name != "roi_head" and head
        }
        for place, heads in named.items():
            for head in heads if isinstance(heads, list) else [heads]:
                if place in CLASS_AGNOSTIC or kind_of(head) in CLASS_AGNOSTIC_TYPES:
                    continue
                if place not in HEADS and "num_classes" not in head:
                    raise UserError(
                        f"model.{inside}{place} ({kind_of(head)}) is a head whose number of "
                        "classes is not known here: state its num_classes in the config."
                    )
                yield f"{inside}{place}", head, HEADS.get(place, DETECTED)


def models_inside(model: ConfigDict, place: str = "") -> Iterator[tuple[str, ConfigDict]]:
    """The model, or those inside of it with their place: semi-supervised training has one there."""
    if "backbone" in model or any(name in HEADS for name in model):
        yield place, model
        return
    for name, part in model.items():
        if isinstance(part, dict):
            yield from models_inside(part, f"{place}{name}.")


def kind_of(head: Mapping[str, Any]) -> str:
    """The name of a head's class."""
    return str(head.get("type", "")).rpartition(".")[2]
