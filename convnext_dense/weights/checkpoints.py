"""Checkpoints of whole models: weights and class names in files of all toolbox versions.

mmengine (mmdet 3, mmsegmentation 1, this project) and mmcv 1 (mmdet 2, mmsegmentation 0: the
detectors and segmentors of the official release) keep the parameters under ``state_dict`` and, of
the models built here, under the same names and shapes (docs/official_files.md). The class names
moved from ``meta.CLASSES`` to ``meta.dataset_meta.classes``. OpenMMLab's own ConvNeXt models name
the backbone's parameters as mmpretrain does; those are translated here.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from convnext_dense.errors import UserError
from convnext_dense.tasks import OF_AVERAGE
from convnext_dense.weights.formats import FIRST_CONV, rename, to_official
from convnext_dense.weights.namings import MMPRETRAIN

BACKBONE = "backbone."
AVERAGE = "state_dict_ema"  # the averaged weights of a run, beside the plain ones in "state_dict"
BEST_THRESHOLDS = "best_thresholds"  # in the message hub, meta and metrics.json: by class
OUTPUT_NORM = re.compile(r"backbone\.norm[0-3]\.(weight|bias)")  # one for each map that is emitted
# Classification layers, and the number of their rows in addition to one for each class.
CLASSIFIERS = {
    "roi_head.bbox_head.fc_cls.weight": 1,
    "roi_head.bbox_head.0.fc_cls.weight": 1,
    "bbox_head.rtm_cls.0.weight": 0,
    "bbox_head.cls_branches.0.weight": 0,
    "panoptic_head.cls_embed.weight": 1,
    "decode_head.conv_seg.weight": 0,
    "decode_head.cls_embed.weight": 1,
}
FUSION = "fusion_head"  # puts results of other heads together, without parameters

MASK_PARTS = ("mask_head", "mask_embed")  # in names of parameters; the second is of queries


def model_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The parameters and buffers of a checkpoint's model, in this project's names.

    Args:
        checkpoint: A result of ``read_checkpoint`` with the parameters under ``state_dict`` or
            ``model``, or a bare state dict.
    """
    state = next((checkpoint[k] for k in ("state_dict", "model") if k in checkpoint), checkpoint)
    state = {
        str(name).removeprefix("module."): value
        for name, value in state.items()
        if isinstance(value, Tensor)
    }
    if f"{BACKBONE}{rename(FIRST_CONV, MMPRETRAIN.names)}" in state:
        translated, others = to_official(state, MMPRETRAIN, BACKBONE)
        state = {
            **{f"{BACKBONE}{name}": value for name, value in translated.items()},
            **{name: state[name] for name in others},
        }
    return state


def take_average(checkpoint: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """A checkpoint whose model has the averaged (EMA) weights of it.

    Its best thresholds are those that were measured on the averaged weights, if any were.

    Raises:
        UserError: For a checkpoint without.
    """
    if AVERAGE not in checkpoint:
        raise UserError(
            f"{source} has no averaged weights: leave out --ema, or train with --average-weights."
        )
    meta = dict(checkpoint.get("meta") or {})
    meta[BEST_THRESHOLDS] = meta.pop(f"{BEST_THRESHOLDS}{OF_AVERAGE}", None)
    return {**checkpoint, "state_dict": checkpoint[AVERAGE], "meta": meta}


def trained_classes(checkpoint: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The class names that a checkpoint was trained with; None where it has none."""
    meta = checkpoint.get("meta") or {}
    classes = (meta.get("dataset_meta") or {}).get("classes") or meta.get("CLASSES")
    if not classes:
        return None
    return (classes,) if isinstance(classes, str) else tuple(classes)


def count_classes(checkpoint: Mapping[str, Any]) -> int | None:
    """The number of classes of a checkpoint's heads; None for other models."""
    state = model_state(checkpoint)
    counts = [len(state[name]) - extra for name, extra in CLASSIFIERS.items() if name in state]
    return counts[0] if counts else None


def has_masks(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's model has a mask branch."""
    return any(part in name for name in model_state(checkpoint) for part in MASK_PARTS)


def check_parts(model: Mapping[str, Any], checkpoint: Mapping[str, Any], source: str) -> None:
    """Refuses a checkpoint that lacks a whole part of the model, before the data is read.

    Args:
        model: The config of the model.
        checkpoint: A result of ``read_checkpoint``.
        source: The checkpoint's name for the error message.

    Raises:
        UserError: When the config has a backbone, neck or head that the file does not contain.
    """
    parts = [name for name in model if name.endswith(("backbone", "neck", "head"))]
    needed = sorted(p for p in parts if model[p] is not None and not p.endswith(FUSION))
    in_file = sorted({name.split(".")[0] for name in model_state(checkpoint)})
    if set(needed) - set(in_file):
        raise UserError(
            f"{source} is a checkpoint of another kind of model: this config's has "
            f"{', '.join(needed)}, the file has {', '.join(in_file[:8]) or 'no parameters'}."
        )


def compare(model: nn.Module, checkpoint: Mapping[str, Any]) -> tuple[dict[str, Tensor], str]:
    """Compares a model with a checkpoint's parameters, name by name.

    A model that emits fewer feature maps than the checkpoint's leaves out the norms of the others.

    Returns:
        The parameters that fit, and a phrase on the differences; empty where there are none.
    """
    state, own = model_state(checkpoint), model.state_dict()
    if any(OUTPUT_NORM.fullmatch(name) for name in own):
        state = {n: v for n, v in state.items() if n in own or not OUTPUT_NORM.fullmatch(n)}
    fitting = {n: v for n, v in state.items() if n in own and v.shape == own[n].shape}
    return fitting, _differences(own, state)


def not_of_this_model(source: str, differences: str) -> UserError:
    """The error of a run that is resumed or tested with another model's checkpoint."""
    return UserError(f"{source} is not a checkpoint of this config's model: {differences}")


def check_backbone(model: nn.Module, checkpoint: Mapping[str, Any], source: str) -> None:
    """Refuses to start a training from another backbone; heads, and the maps they read, may differ.

    Raises:
        UserError: When a parameter of the backbone is missing, surplus or of another shape.
    """
    own, state = (
        {
            name: value
            for name, value in part.items()
            if name.startswith(BACKBONE) and not OUTPUT_NORM.fullmatch(name)
        }
        for part in (model.state_dict(), model_state(checkpoint))
    )
    if differences := _differences(own, state):
        raise UserError(
            f"{source} does not hold this config's backbone: {differences}. A classifier's "
            "weights are given with --backbone-weights."
        )


def _differences(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """A phrase on the names and shapes in which two state dicts differ; "" for none."""
    reshaped = [
        f"{name} {tuple(state[name].shape)} for {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    differences = {
        "missing": [name for name in own if name not in state],
        "not in the model": [name for name in state if name not in own],
        "of another shape": reshaped,
    }
    return "; ".join(
        f"{len(names)} {kind} ({_shorten(names)})" for kind, names in differences.items() if names
    )


def _shorten(names: Iterable[str], shown: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:shown]) + (" ..." if len(names) > shown else "")
