"""Feature maps of the backbone that no neck or head reads: it is told not to emit them.

The output norm of such a map costs time and gets no gradient, where DistributedDataParallel stops.
mmdet's configs of Swin leave these maps out of ``out_indices`` by hand. Stages stay as they are,
and so do the names and shapes of all other parameters.
"""

from collections.abc import Iterator, Mapping
from typing import Any

BACKBONES = ("ConvNeXt", "ConvNeXtRoadmap")
# Necks of mmdet and mmsegmentation that read the maps from start_level on.
NECKS = ("FPG", "FPN", "FPN_CARAFE", "FPN_DropBlock", "JPU", "NASFCOS_FPN", "NASFPN", "PAFPN")
NECKS_ON_LAST = ("CTResNetNeck",)  # which read the last map alone, whatever its number
# Heads of mmsegmentation that read the maps of in_index, and nothing else of the backbone ...
HEADS = (
    "ANNHead", "APCHead", "ASPPHead", "CCHead", "DAHead", "DMHead", "DNLHead",
    "DepthwiseSeparableFCNHead", "EMAHead", "EncHead", "FCNHead", "FPNHead", "GCHead", "ISAHead",
    "LRASPPHead", "LightHamHead", "NLHead", "OCRHead", "PSAHead", "PSPHead", "PointHead",
    "SETRMLAHead", "SegformerHead", "UPerHead",
)  # fmt: skip
# ... of which one reads the last of them alone, unless it is told to add the others ...
HEAD_ON_LAST, ADDS_OTHERS = "EncHead", "add_lateral"
# ... and one reads the first map besides.
HEADS_ON_FIRST = ("DepthwiseSeparableASPPHead",)
HEAD_INSIDE = {"IterativeDecodeHead": "kernel_generate_head"}  # which reads the maps for it
Node = dict[str, Any]


def drop_unread_maps(model: Node) -> list[str]:
    """Has the backbones of a model's config emit only the maps that are read; in place.

    A model with a neck or head whose reading is not known here stays as it is. So does the last
    map, whose stage would go with it.

    Returns:
        A sentence for each backbone that emits fewer maps than before.
    """
    return [said for part in _with_backbone(model) if (said := _narrow(part))]


def _with_backbone(node: Any) -> Iterator[Node]:
    """The model, and the models inside of it, as those of semi-supervised training."""
    if isinstance(node, dict):
        if isinstance(node.get("backbone"), dict):
            yield node
        for value in node.values():
            yield from _with_backbone(value)


def _narrow(model: Node) -> str:
    backbone = model["backbone"]
    if _kind(backbone) not in BACKBONES:
        return ""
    emitted = list(backbone.get("out_indices", range(4)))
    neck, heads = _first(model.get("neck")), _heads(model)
    read = _read_by_neck(neck, len(emitted)) if neck else _read_by_heads(heads, len(emitted))
    unread = [index for place, index in enumerate(emitted) if place not in read]
    if not unread:
        return ""
    backbone["out_indices"] = tuple(emitted[place] for place in read)
    if neck:
        _renumber_neck(neck, read)
    else:
        _renumber_heads(heads, read, len(emitted))
    reader = f"{_kind(neck)} starts at level {len(unread)}" if neck else "no head reads the others"
    if neck and _kind(neck) in NECKS_ON_LAST:
        reader = f"{_kind(neck)} reads the last map"
    return (
        f"backbone.out_indices {tuple(emitted)} -> {backbone['out_indices']}: {reader}, and output "
        "norms that nothing reads would get no gradient. Results stay the same."
    )


def _read_by_neck(neck: Node, count: int) -> list[int]:
    """The places of the maps, out of ``count``, that a neck reads; all where it is not known."""
    if _kind(neck) in NECKS_ON_LAST:
        return [count - 1]
    start = neck.get("start_level", 0)
    known = _kind(neck) in NECKS and len(neck.get("in_channels", ())) == count
    return list(range(start if known and 0 <= start < count else 0, count))


def _renumber_neck(neck: Node, read: list[int]) -> None:
    if _kind(neck) in NECKS_ON_LAST:
        return
    neck["in_channels"] = [neck["in_channels"][place] for place in read]
    neck["start_level"] = 0
    if neck.get("end_level", -1) > 0:
        neck["end_level"] -= read[0]


def _heads(model: Node) -> list[Node]:
    """A segmentor's heads, which may be lists, and for some a head inside of them."""
    named = [model.get(name) or [] for name in ("decode_head", "auxiliary_head")]
    heads = [head for one in named for head in (one if isinstance(one, list) else [one])]
    return [head.get(HEAD_INSIDE.get(_kind(head)), head) for head in heads]


def _read_by_heads(heads: list[Node], count: int) -> list[int]:
    """The places of the maps that heads read, the last one included; all if not known."""
    if not heads or any(_kind(head) not in HEADS + HEADS_ON_FIRST for head in heads):
        return list(range(count))
    read = {count - 1}
    for head in heads:
        read.update(place % count for place in _places(head))
        read.update([0] if _kind(head) in HEADS_ON_FIRST else [])
    return sorted(read)


def _renumber_heads(heads: list[Node], read: list[int], count: int) -> None:
    for head in heads:
        places = [read.index(place % count) for place in _places(head)]
        head["in_index"] = places if _is_list(head.get("in_index")) else places[0]
        if _reads_last_alone(head):
            head["in_channels"] = head["in_channels"][-1:]


def _places(head: Node) -> list[int]:
    index = head.get("in_index", -1)
    places = list(index) if _is_list(index) else [index]
    return places[-1:] if _reads_last_alone(head) else places


def _reads_last_alone(head: Node) -> bool:
    return _kind(head) == HEAD_ON_LAST and not head.get(ADDS_OTHERS)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _first(neck: Any) -> Node | None:
    """The neck that is next to the backbone."""
    return (neck[0] if neck else None) if _is_list(neck) else neck


def _kind(node: Mapping[str, Any]) -> str:
    kind = node.get("type", "")
    return (kind if isinstance(kind, str) else kind.__name__).rpartition(".")[2]
