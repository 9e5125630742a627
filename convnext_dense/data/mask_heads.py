"""Heads of mmdet that tell things and stuff apart, fitted to a number of classes.

For things alone, such as an instance segmentation by Mask2Former, the number of stuff is 0.
"""

from mmengine.config import ConfigDict

from convnext_dense.config.config_tree import walk
from convnext_dense.errors import UserError

QUERY_HEADS = ("MaskFormerHead", "Mask2FormerHead")  # whose queries may also say "no object"
HEADS = (*QUERY_HEADS, "MaskFormerFusionHead", "PanopticFPNHead", "HeuristicFusionHead")


def set_things_and_stuff(model: ConfigDict, things: int, stuff: int, source: str) -> None:
    """Sets the numbers of classes of every such head of a model that does not fix them; in place.

    The weights of the classes in a query head's loss are stated as two numbers, of a class and of
    "no object": the first is repeated for each class.

    Args:
        model: The model's config.
        things, stuff: Number of classes.
        source: Where they come from, for the message.

    Raises:
        UserError: When a head fixes other numbers.
    """
    for head in walk(model):
        kind = str(head.get("type", "")).rpartition(".")[2]
        if kind not in HEADS:
            continue
        for key, count in (("num_things_classes", things), ("num_stuff_classes", stuff)):
            if head.setdefault(key, count) != count:
                raise UserError(
                    f"{kind}.{key} is {head[key]} in the config, but {source} has {count}: remove "
                    f"{key} from the config."
                )
        if kind in QUERY_HEADS:
            _repeat_class_weight(head, kind, things + stuff)


def _repeat_class_weight(head: ConfigDict, kind: str, classes: int) -> None:
    weights = list(head.loss_cls.get("class_weight") or ())
    if len(weights) == 2:
        weights = [weights[0]] * classes + [weights[1]]
    if len(weights) != classes + 1:
        raise UserError(
            f"{kind}.loss_cls.class_weight has {len(weights)} numbers: give two, of a class and of "
            f"'no object', or {classes + 1}, one for each class and the last for 'no object'."
        )
    head.loss_cls.class_weight = weights
