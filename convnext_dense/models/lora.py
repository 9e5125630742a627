"""Low-rank adapters in a backbone's blocks (LoRA, arXiv 2106.09685), by the library peft.

The two linear layers of a block's MLP get adapters: they hold 98 % of a ConvNeXt's parameters.
Stem, downsampling, depthwise convolutions, norms and gamma stay as they are. To everything that
reads or loads weights the model looks as without adapters: ``state_dict`` has the layers' merged
weights under their own names, and loading such weights begins with adapters that do nothing.
"""

import importlib.util
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from convnext_dense.errors import UserError
from convnext_dense.models.block import Block
from convnext_dense.models.trunk import Trunk

LAYERS = ("pwconv1", "pwconv2")
ADAPTER = "default"  # peft's name of the only adapter
PARTS = ("base_layer.weight", f"lora_A.{ADAPTER}.weight", f"lora_B.{ADAPTER}.weight")
BASE, DOWN, UP = PARTS
TRUNK = ("downsample_layers.", "stages.")


def require_peft() -> None:
    """Refuses to go on without the library.

    Raises:
        UserError: Says how to install it.
    """
    if importlib.util.find_spec("peft") is None:
        raise UserError("--lora needs the package peft: pip install 'convnext_dense[lora]'.")


def add_adapters(backbone: Trunk, rank: int) -> None:
    """Puts adapters into all blocks that are not frozen, and freezes the rest of the trunk.

    Norms after the stages and a classifier's head train as before. An adapter adds ``B A x`` to its
    layer's output: A (rank, inputs) is random, B (outputs, rank) zero at first.

    Args:
        backbone: Changed in place; its blocks take the plain path, which calls the layers.
        rank: Of the adapters.

    Raises:
        UserError: Without peft.
    """
    require_peft()
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds

    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    names = [
        f"{name}.{layer}"
        for name, block in backbone.named_modules()
        if isinstance(block, Block) and block.pwconv1.weight.requires_grad
        for layer in LAYERS
    ]
    # alpha = rank: the adapter's product is added as it is.
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=names)
    inject_adapter_in_model(config, backbone, adapter_name=ADAPTER)
    for name, parameter in backbone.named_parameters():  # peft has frozen all but the adapters
        if name in trained and not name.startswith(TRUNK):
            parameter.requires_grad_(True)
    for _, layer in adapted_layers(backbone):
        layer.register_state_dict_post_hook(_merge_state)
        layer.register_load_state_dict_pre_hook(_divide_state)


def adapted_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers with an adapter, peft's ``lora.Linear``, and their names."""
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight") and hasattr(module, "lora_A"):
            yield name, module


def reset_adapters(model: nn.Module) -> None:
    """Begins with adapters that do nothing, where initialisers have gone through all layers."""
    for _, layer in adapted_layers(model):
        layer.reset_lora_parameters(ADAPTER, init_lora_weights=True)


def without_adapters(model: nn.Module) -> nn.Module:
    """Replaces adapted layers by plain ones that compute the same; returns the model."""
    for name, layer in list(adapted_layers(model)):
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    return model


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """The parts that merged weights do not tell apart: what a resumed run needs beside them."""
    return {
        f"{name}.{part}": layer.get_parameter(part).detach()
        for name, layer in adapted_layers(model)
        for part in PARTS
    }


def load_adapter_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Loads a result of :func:`adapter_state` of the same model and rank."""
    with torch.no_grad():
        for name, layer in adapted_layers(model):
            for part in PARTS:
                layer.get_parameter(part).copy_(state[f"{name}.{part}"])


def _merge_state(layer: Any, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    base, *_ = (state.pop(f"{prefix}{part}") for part in PARTS)
    bias = state.pop(f"{prefix}base_layer.bias")
    state[f"{prefix}weight"] = (base + layer.get_delta_weight(ADAPTER)).detach()
    state[f"{prefix}bias"] = bias


def _divide_state(layer: Any, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    if f"{prefix}weight" not in state:
        return
    state[f"{prefix}{BASE}"] = state.pop(f"{prefix}weight")
    state[f"{prefix}base_layer.bias"] = state.pop(f"{prefix}bias")
    state[f"{prefix}{DOWN}"] = layer.get_parameter(DOWN).detach().clone()
    state[f"{prefix}{UP}"] = torch.zeros_like(layer.get_parameter(UP))
