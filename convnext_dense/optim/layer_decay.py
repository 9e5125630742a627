"""Layer-wise learning rate decay: early layers of the ConvNeXt learn more slowly than late ones."""

import torch.nn as nn
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS

from convnext_dense.errors import UserError
from convnext_dense.models import IsotropicConvNeXt, StagedNetwork
from convnext_dense.models.staged_network import HEAD

CONVNEXTS = (StagedNetwork, IsotropicConvNeXt)
DECAY_TYPES = ("layer_wise", "stage_wise")
BLOCKS_PER_LAYER = 3  # blocks of the third stage that share one id (layer_wise)
PARAMWISE_KEYS = ("decay_rate", "decay_type", "num_layers", "head_lr_mult", "custom_keys")
CUSTOM_KEYS = ("lr_mult", "decay_mult")
# As in ConvNeXt V2, without weight decay: GRN's scale and shift are vectors of shape (1, 1, 1, C).
UNDECAYED_NAMES = ("bias", "gamma", "beta")


def num_layers(depths: tuple[int, ...]) -> int:
    """The N of the decay: ids run from 0 (stem) to N + 1 (everything after the blocks).

    The release fixes 6 for a third stage of 9 blocks and 12 for one of 27. Both follow the rule
    3 + ceil(depths[2] / 3), which is used here for any depth. The release has no rule for the
    isotropic model; its one stage is grouped in the same way: ceil(depths[0] / 3).
    """
    if len(depths) == 1:
        return -(-depths[0] // BLOCKS_PER_LAYER)
    return 3 - (-depths[2] // BLOCKS_PER_LAYER)


def layer_id(name: str, depths: tuple[int, ...], decay_type: str) -> int:
    """The id of a ConvNeXt's parameter; its lr scale is decay_rate ** (N + 1 - id).

    | parameter                      | layer_wise   | stage_wise |
    |--------------------------------|--------------|------------|
    | `downsample_layers.0` (stem)   | 0            | 0          |
    | `downsample_layers.1 / .2 / .3`| 2 / 3 / N    | 0 / 0 / 0  |
    | `stages.0`, `stages.1`         | 1, 2         | 1, 2       |
    | `stages.2.b`                   | 3 + b // 3   | 3          |
    | `stages.3`                     | N            | 4          |
    | anything else (norms, heads)   | N + 1        | N + 1      |

    stage_wise leaves the ids 5 to N unused and gives every downsampling layer the stem's learning
    rate. The official release does so, and the paper's results were obtained with it.

    In the isotropic model `stem` has id 0 and `blocks.b` has 1 + b // 3.

    Args:
        name: the parameter's name inside the backbone, e.g. `stages.2.4.dwconv.weight`.
        depths: blocks of the four stages, or of the isotropic model's one.
        decay_type: one of `DECAY_TYPES`.
    """
    last = num_layers(depths)
    part, *rest = name.split(".")
    if part == "stem":
        return 0
    if part == "blocks":
        return 1 + int(rest[0]) // BLOCKS_PER_LAYER
    if part == "downsample_layers":
        return (0, 2, 3, last)[int(rest[0])] if decay_type == "layer_wise" else 0
    if part != "stages":
        return last + 1
    stage, block = int(rest[0]), int(rest[1])
    if decay_type == "stage_wise" or stage < 2:
        return stage + 1
    return 3 + block // BLOCKS_PER_LAYER if stage == 2 else last


def is_decayed(name: str, param: nn.Parameter) -> bool:
    """Whether weight decay applies: to every parameter but the 1-D ones and the biases."""
    return param.ndim > 1 and name.rpartition(".")[2] not in UNDECAYED_NAMES


def find_backbone(model: nn.Module) -> tuple[str, StagedNetwork | IsotropicConvNeXt]:
    """The ConvNeXt of a model and its prefix (`""` or e.g. `"backbone."`).

    Of several (a teacher and its student), it is the trainable one.

    Raises:
        UserError: there is none, or more than one trainable one.
    """
    backbones = {name: m for name, m in model.named_modules() if isinstance(m, CONVNEXTS)}
    if len(backbones) > 1:
        backbones = {
            name: m for name, m in backbones.items() if any(p.requires_grad for p in m.parameters())
        }
    if len(backbones) != 1:
        names = f" ({', '.join(sorted(backbones))})" if backbones else ""
        raise UserError(
            f"LayerDecayOptimWrapperConstructor needs exactly one trainable ConvNeXt in the model, "
            f"but {type(model).__name__} has {len(backbones)}{names}; give the model a ConvNeXt "
            f"backbone or remove `constructor` from optim_wrapper"
        )
    ((name, backbone),) = backbones.items()
    return (f"{name}." if name else ""), backbone


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Builds the optimizer with one group for each layer id and for decay / no decay.

    Works on any model (bare, wrapped for DDP, detector, segmentor, classifier) that contains one
    ConvNeXt, and with decay_rate 1 (one group with and one without weight decay) on any model.
    Frozen parameters are left out; every other one is in exactly one group. A group has
    `group_name`, `lr_scale`, `lr`, `weight_decay` and `param_names`; groups are sorted by id,
    decayed ones first.

    Args:
        optim_wrapper_cfg: config of the optim wrapper; its `optimizer` states `lr` and
            `weight_decay`.
        paramwise_cfg: `decay_rate` in (0, 1]; `decay_type`, `layer_wise` (the default: COCO and
            ImageNet) or `stage_wise` (ADE20K); `num_layers`, optional, checked against the number
            that the depths imply; `head_lr_mult`, optional, which multiplies the lr scale of all
            that is not the backbone, and of a classifier's `head`, in groups of their own;
            `custom_keys`, optional, `{part of a name: dict(lr_mult=, decay_mult=)}`: the longest
            key found in a parameter's name multiplies its lr scale and weight decay.

    Raises:
        UserError: for a wrong setting, or a decay_rate below 1 for a model without a ConvNeXt.

    Source: official release (`optim_factory.py` and its versions for detection and segmentation),
    paper appendix A.2 and A.3.
    """

    def _validate_cfg(self) -> None:
        cfg = self.paramwise_cfg
        _check_keys(cfg, PARAMWISE_KEYS, "paramwise_cfg")
        for key in ("lr", "weight_decay"):
            if not _is_number(self.optimizer_cfg.get(key)):
                raise UserError(
                    f"optim_wrapper.optimizer needs an explicit number as {key!r} for layer decay, "
                    f"got {self.optimizer_cfg.get(key)!r}"
                )
        decay_rate = cfg.get("decay_rate")
        if not _is_number(decay_rate) or not 0 < decay_rate <= 1:
            raise UserError(
                f"paramwise_cfg.decay_rate must be a number in (0, 1] (the paper uses 0.7 to "
                f"0.95), got {decay_rate!r}"
            )
        self.decay_rate = decay_rate
        self.decay_type = cfg.get("decay_type", DECAY_TYPES[0])
        if self.decay_type not in DECAY_TYPES:
            raise UserError(
                f"unknown paramwise_cfg.decay_type {self.decay_type!r}; "
                f"known: {', '.join(DECAY_TYPES)}"
            )
        self.head_lr_mult = cfg.get("head_lr_mult", 1.0)
        if not _is_number(self.head_lr_mult) or not 0 < self.head_lr_mult < float("inf"):
            raise UserError(
                f"paramwise_cfg.head_lr_mult (--head-lr-mult) must be a number above 0, got "
                f"{self.head_lr_mult!r}"
            )
        self.custom_keys = _checked_custom_keys(cfg.get("custom_keys", {}))

    def add_params(self, params: list[dict], module: nn.Module) -> None:
        """Appends the groups of `module` to `params`; called by the base class."""
        prefix, depths = self._prefix_and_depths(module)
        last = num_layers(depths)
        if self.paramwise_cfg.get("num_layers", last) != last:
            raise UserError(
                f"paramwise_cfg.num_layers={self.paramwise_cfg['num_layers']} does not fit a "
                f"ConvNeXt of depths {tuple(depths)}, which has {last}; "
                f"remove num_layers, it is derived from the depths"
            )
        self._check_custom_keys_match(module)
        groups = {}
        for name, param in module.named_parameters():
            if not param.requires_grad:
                continue
            layer, is_head = last + 1, True  # necks and heads
            if prefix is not None and name.startswith(prefix):
                inside = name.removeprefix(prefix)
                layer = layer_id(inside, depths, self.decay_type)
                is_head = inside.startswith(f"{HEAD}.")
            is_head &= self.head_lr_mult != 1
            decayed, custom = is_decayed(name, param), self._custom_key(name)
            key = (layer, not decayed, is_head, custom)
            if key not in groups:
                scale = self.decay_rate ** (last + 1 - layer)
                groups[key] = self._new_group(layer, scale, decayed, is_head, custom)
            groups[key]["params"].append(param)
            groups[key]["param_names"].append(name)
        params.extend(groups[key] for key in sorted(groups))

    def _prefix_and_depths(self, module: nn.Module) -> tuple[str | None, tuple[int, ...]]:
        """Prefix and depths of the ConvNeXt; with decay_rate 1 a model may be without one."""
        if self.decay_rate == 1 and not any(isinstance(m, CONVNEXTS) for m in module.modules()):
            return None, (0,)
        prefix, backbone = find_backbone(module)
        return prefix, backbone.depths

    def _new_group(
        self, layer: int, scale: float, decayed: bool, is_head: bool, custom: str
    ) -> dict:
        mult = self.custom_keys.get(custom, {})
        scale = scale * mult.get("lr_mult", 1.0) * (self.head_lr_mult if is_head else 1.0)
        weight_decay = self.base_wd * mult.get("decay_mult", 1.0) if decayed else 0.0
        name = f"layer_{layer}_{'decay' if decayed else 'no_decay'}"
        parts = [name, *(["heads"] if is_head else []), *([custom] if custom else [])]
        return dict(
            params=[],
            param_names=[],
            group_name="_".join(parts),
            lr_scale=scale,
            lr=self.base_lr * scale,
            weight_decay=weight_decay,
        )

    def _custom_key(self, name: str) -> str:
        """The longest custom key in `name` (of equal lengths the first by alphabet), or `""`."""
        matching = sorted(key for key in self.custom_keys if key in name)
        return max(matching, key=len, default="")

    def _check_custom_keys_match(self, module: nn.Module) -> None:
        names = [name for name, _ in module.named_parameters()]
        for key in self.custom_keys:
            if not any(key in name for name in names):
                raise UserError(
                    f"paramwise_cfg.custom_keys: {key!r} is part of no parameter's name in "
                    f"{type(module).__name__} (names look like {names[0]!r})"
                )


def _checked_custom_keys(custom_keys: dict) -> dict:
    if not isinstance(custom_keys, dict):
        raise UserError(f"paramwise_cfg.custom_keys must be a dict, got {custom_keys!r}")
    for key, entry in custom_keys.items():
        where = f"paramwise_cfg.custom_keys[{key!r}]"
        if not key or not isinstance(entry, dict):
            raise UserError(f"{where} must map a non-empty part of a name to a dict, got {entry!r}")
        _check_keys(entry, CUSTOM_KEYS, where)
        for name, value in entry.items():
            if not _is_number(value) or value < 0:
                raise UserError(f"{where}.{name} must be a number >= 0, got {value!r}")
    return custom_keys


def _check_keys(cfg: dict, known: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(cfg) - set(known))
    if unknown:
        raise UserError(f"unknown key {unknown[0]!r} in {where}; known: {', '.join(known)}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
