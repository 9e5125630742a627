"""The numbers of things and stuff in the heads of mmdet's panoptic models.

Boxes and masks are those of things: RoI heads count these alone.
"""

from collections.abc import Iterator

from mmengine.config import ConfigDict

from convnext_dense.config.config_tree import walk
from convnext_dense.errors import UserError

ROI_HEADS = ("bbox_head", "mask_head")
QUERY_HEADS = ("MaskFormerHead", "Mask2FormerHead")  # whose queries may also say "no object"
HEADS = (*QUERY_HEADS, "MaskFormerFusionHead", "PanopticFPNHead", "HeuristicFusionHead")


def set_classes(model: ConfigDict, things: int, stuff: int, source: str) -> None:
    """Sets the numbers of classes of every head of a model that does not fix them; in place.

    The weights of the classes in a query head's loss may be stated as two numbers, of a class and
    of "no object": the first is repeated for each class.

    Args:
        model: The model's config.
        things, stuff: Number of classes.
        source: Where they come from, for the message.

    Raises:
        UserError: When a head fixes other numbers.
    """
    for head in _roi_heads(model):
        _set(head, "num_classes", things, source)
    for head in walk(model):
        if _kind(head) in HEADS:
            _set(head, "num_things_classes", things, source)
            _set(head, "num_stuff_classes", stuff, source)
        if _kind(head) in QUERY_HEADS:
            _repeat_class_weight(head, things + stuff)


def _roi_heads(model: ConfigDict) -> Iterator[ConfigDict]:
    """The box and mask heads; a cascade has several of each."""
    for name in ROI_HEADS:
        heads = (model.get("roi_head") or {}).get(name) or []
        yield from heads if isinstance(heads, list) else [heads]


def _set(head: ConfigDict, key: str, count: int, source: str) -> None:
    if head.setdefault(key, count) != count:
        raise UserError(
            f"{_kind(head)}.{key} is {head[key]} in the config, and {source} has {count}: remove "
            f"{key} from the config."
        )


def _repeat_class_weight(head: ConfigDict, classes: int) -> None:
    weights = list(head.loss_cls.get("class_weight") or ())
    if len(weights) == 2:
        weights = [weights[0]] * classes + [weights[1]]
    if len(weights) != classes + 1:
        raise UserError(
            f"{_kind(head)}.loss_cls.class_weight has {len(weights)} numbers: give two, of a class "
            f"and of 'no object', or {classes + 1}, one for each class and one for "
            "'no object'."
        )
    head.loss_cls.class_weight = weights


def _kind(head: ConfigDict) -> str:
    return str(head.get("type", "")).rpartition(".")[2]
