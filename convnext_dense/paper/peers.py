"""The networks of a comparison: ours, other libraries', and the proof that they are the same."""

import re
from difflib import get_close_matches

import timm
import torch
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.models import ConvNeXt
from convnext_dense.weights import convert

TOLERANCE = 1e-4  # relative, fp32


def build(name: str, image_size: tuple[int, int]) -> nn.Module:
    """Builds a network with random weights that gives maps of several scales.

    Args:
        name: A variant of ours (``tiny``) or a peer (``timm:convnext_tiny``).
        image_size: (height, width) in pixels, for networks that are built for one size.
    """
    library, _, model = name.rpartition(":")
    return PEERS[library](model, image_size) if library else _build_ours(model)


def _build_ours(variant: str) -> ConvNeXt:
    # Fresh weights hide much: gamma is 1e-6, biases are 0, norms are 1. Here every value counts.
    network = ConvNeXt(variant, layer_scale_init_value=1.0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return network


def _build_timm(model: str, image_size: tuple[int, int]) -> nn.Module:
    fixed = timm.get_pretrained_cfg(model).fixed_input_size
    options = dict(img_size=image_size) if fixed else {}
    try:
        return timm.create_model(model, features_only=True, **options)
    except (AssertionError, RuntimeError, TypeError) as error:  # what timm's families raise
        height, width = image_size
        raise UserError(
            f"timm:{model} gives no features of {height} x {width} pictures ({error}): choose "
            "another peer or --image-size."
        ) from error


# Library -> how to build one of its models for an image size.
PEERS = {"timm": _build_timm}


def check_peer(name: str) -> None:
    """Refuses a peer that does not exist.

    Raises:
        UserError: With the known libraries, or the nearest models of the library.
    """
    library, _, model = name.partition(":")
    if library not in PEERS or not model:
        raise UserError(
            f"Unknown peer {name!r}: write LIBRARY:MODEL, such as timm:convnext_tiny; known "
            f"libraries: {', '.join(PEERS)}."
        )
    if not timm.is_model(model):
        near = get_close_matches(model, timm.list_models(), n=5) or timm.list_models("convnext_*")
        raise UserError(f"timm has no model {model!r}: choose one such as {', '.join(near)}.")


def default_peers(variant: str) -> list[str]:
    """timm's model of the same variant, where timm has one."""
    model = f"convnext_{variant}"
    return [f"timm:{model}"] if timm.is_model(model) else []


def is_same_network(variant: str, name: str) -> bool:
    """Whether a peer computes what ours computes, so that it must do so with our weights."""
    return name.partition(".")[0] in default_peers(variant)  # a dot precedes timm's weight tags


def copy_weights(ours: ConvNeXt, peer: nn.Module, name: str) -> None:
    """Gives timm's features our weights; our output norms have no place there.

    Raises:
        UserError: When the parameters are not the same ones.
    """
    # timm's feature extractor flattens the model's first level: stages.0 becomes stages_0.
    state = {
        re.sub(r"^(stem|stages)\.", r"\1_", key): value
        for key, value in convert(ours.state_dict(), "timm").state_dict.items()
    }
    own = peer.state_dict()
    sizes, own_sizes = ({(key, v.numel()) for key, v in s.items()} for s in (state, own))
    if sizes != own_sizes:
        differing = sorted({key for key, _ in sizes ^ own_sizes})
        raise UserError(
            f"{name} has other parameters than our backbone ({differing[0]} is the first of "
            f"{len(differing)}): install another timm than {timm.__version__}."
        )
    # The 1x1 convolutions of timm's small variants are linear layers with two idle axes.
    peer.load_state_dict({key: value.view_as(own[key]) for key, value in state.items()})


def check_features(ours: ConvNeXt, peer: nn.Module, name: str, device: str) -> None:
    """Compares our stages' outputs, before the output norms, with a peer's features in fp32.

    Raises:
        UserError: Where one differs by more than ``TOLERANCE`` of its norm.
    """
    pictures = torch.randn(2, 3, 64, 96, device=device)
    maps: list[torch.Tensor] = []
    hooks = [
        stage.register_forward_hook(lambda _module, _inputs, out: maps.append(out))
        for stage in ours.stages
    ]
    # TF32 convolutions, cuDNN's default, are good to 1e-3 only.
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        ours.eval()(pictures)
        features = peer.eval()(pictures)
    for hook in hooks:
        hook.remove()
    for i, (actual, expected) in enumerate(zip(maps, features, strict=True)):
        error = ((actual - expected).norm() / expected.norm()).item()
        if not error <= TOLERANCE:  # also where it is NaN
            raise UserError(
                f"Stage {i} of our backbone differs from {name} with the same weights by "
                f"{error:.1e} of its norm ({TOLERANCE:.0e} is allowed): these are two functions, "
                f"and their speeds say nothing. Try another timm than {timm.__version__}."
            )
