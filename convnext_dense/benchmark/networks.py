"""The networks of a comparison: ours, other libraries', and a check that they are the same.

A name is a variant (``tiny``: the backbone with its four feature maps), ``cls:VARIANT`` (the
classifier), a config file, or a peer (``timm:convnext_tiny``).
"""

import re
from difflib import get_close_matches

import timm
import torch
from torch import nn

from convnext_dense.benchmark import whole_models
from convnext_dense.benchmark.libraries import LIBRARIES
from convnext_dense.errors import UserError
from convnext_dense.models import ConvNeXt, ConvNeXtClassifier
from convnext_dense.models.trunk import parse_arch
from convnext_dense.weights import convert

TOLERANCE = 1e-4  # relative, fp32
CLASSIFIER = "cls:"
CLASSES = 1000  # of a classifier without a config
FEATURE_MAPS, LOGITS = "feature maps", "logits"
# Output of a network -> the modes that measure it; for whole models the key is the mode itself.
MODES_OF_OUTPUT = {FEATURE_MAPS: ("infer", "train"), LOGITS: ("infer", "train")} | {
    mode: (mode,) for mode in whole_models.SCOPES.values()
}


def build(name: str, image_size: tuple[int, int], num_classes: int | None = None) -> nn.Module:
    """Builds a network with random weights, without stochastic depth.

    Libraries have different drop path rates by default, which would change the speed.

    Args:
        name: One of ours (``tiny``, ``cls:tiny``, a config) or a peer (``timm:convnext_tiny``).
        image_size: (height, width) in pixels, for networks that are built for one size.
        num_classes: Classes of a peer that is a classifier; None for a backbone.

    Raises:
        UserError: For a peer that cannot be built with these arguments.
    """
    if is_peer(name):
        library, _, model = name.partition(":")
        network = LIBRARIES[library].build(model, image_size, num_classes)
    else:
        network = _build_ours(name)
    for module in network.modules():
        for suffix, attribute in (("DropPath", "drop_prob"), ("StochasticDepth", "p")):
            if type(module).__name__.endswith(suffix):
                setattr(module, attribute, 0.0)
    return network


def is_peer(name: str) -> bool:
    """Whether a name is that of another library's model."""
    return ":" in name and not name.startswith(CLASSIFIER) and not whole_models.is_config(name)


def _build_ours(name: str) -> nn.Module:
    if whole_models.is_config(name):
        network = whole_models.build_model(name)
    # With the initial gamma of 1e-6, biases of 0 and norms of 1, differences would be hidden.
    elif name.startswith(CLASSIFIER):
        arch = name.removeprefix(CLASSIFIER)
        network = ConvNeXtClassifier(CLASSES, arch, layer_scale_init_value=1.0)
    else:
        network = ConvNeXt(name, layer_scale_init_value=1.0)
    if output_of(name) in (FEATURE_MAPS, LOGITS):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.02)
    return network


def output_of(name: str) -> str:
    """The output of one of our models: a key of ``MODES_OF_OUTPUT``."""
    if not whole_models.is_config(name):
        return LOGITS if name.startswith(CLASSIFIER) else FEATURE_MAPS
    return whole_models.SCOPES.get(whole_models.read_config(name).default_scope, LOGITS)


def is_backbone(name: str) -> bool:
    """Whether a name is that of our backbone."""
    return not is_peer(name) and output_of(name) == FEATURE_MAPS


def classes_of(name: str) -> int:
    """Outputs of one of our classifiers."""
    config = whole_models.is_config(name)
    return whole_models.read_config(name).model.backbone.num_classes if config else CLASSES


def check_model(name: str, mode: str) -> None:
    """Refuses one of our models that does not exist, or that a mode does not measure.

    Raises:
        UserError: With the known or nearest names.
    """
    if not whole_models.is_config(name):
        parse_arch(name.removeprefix(CLASSIFIER))
    modes = MODES_OF_OUTPUT[output_of(name)]
    if mode not in modes:
        models = "a variant, cls:VARIANT or a classification config"
        raise UserError(
            f"{mode} does not measure {name}: use {' or '.join(modes)}, or give "
            f"{whole_models.EXPECTED_CONFIG.get(mode, models)}."
        )


def check_peer(name: str) -> None:
    """Refuses a peer that does not exist.

    Raises:
        UserError: With the known libraries, or the nearest models of the library.
    """
    library, _, model = name.partition(":")
    if library not in LIBRARIES or not model:
        raise UserError(
            f"Unknown peer {name!r}: write LIBRARY:MODEL, such as timm:convnext_tiny; known "
            f"libraries: {', '.join(LIBRARIES)}."
        )
    LIBRARIES[library].check(model)
    known = LIBRARIES[library].names()
    # A dot precedes timm's weight tags.
    if not (timm.is_model(model) if library == "timm" else model in known):
        near = get_close_matches(model, known, n=5)
        near = near or [model_name for model_name in known if model_name.startswith("convnext_")]
        raise UserError(f"{library} has no model {model!r}: choose one such as {', '.join(near)}.")


def variant_of(name: str) -> str | None:
    """The variant of one of our plain ConvNeXt; None for any other network."""
    if not whole_models.is_config(name):
        return name.removeprefix(CLASSIFIER)
    return whole_models.convnext_variant(whole_models.read_config(name))


def default_peers(name: str) -> list[str]:
    """timm's model of the same variant, if there is one."""
    model = f"convnext_{variant_of(name)}"
    return [f"timm:{model}"] if timm.is_model(model) else []


def is_same_network(ours: str, name: str) -> bool:
    """Whether a peer is the same network as ours, so that its outputs must equal ours."""
    model = name.partition(":")[2].partition(".")[0]  # a dot precedes timm's weight tags
    return is_peer(name) and model == f"convnext_{variant_of(ours)}"


def copy_weights(ours: nn.Module, peer: nn.Module, name: str) -> None:
    """Copies our weights to another library's network, without output norms where it has none.

    Raises:
        UserError: When the parameters differ.
    """
    library = name.partition(":")[0]
    state = convert(ours.state_dict(), LIBRARIES[library].naming).state_dict
    if library == "timm" and isinstance(ours, ConvNeXt):
        # timm's feature extractor flattens the model's first level: stages.0 becomes stages_0.
        state = {re.sub(r"^(stem|stages)\.", r"\1_", key): value for key, value in state.items()}
    own = peer.state_dict()
    sizes, own_sizes = ({(key, v.numel()) for key, v in s.items()} for s in (state, own))
    if sizes != own_sizes:
        differing = sorted({key for key, _ in sizes ^ own_sizes})
        raise UserError(
            f"{name} has other parameters than ours ({differing[0]} is the first of "
            f"{len(differing)}): install another version of {library}."
        )
    # The 1x1 convolutions of timm's small variants are linear layers with two axes of length 1.
    peer.load_state_dict({key: value.view_as(own[key]) for key, value in state.items()})


def check_features(ours: nn.Module, peer: nn.Module, name: str, device: str) -> None:
    """Compares our stages' outputs, or our logits, with a peer's in fp32.

    Our output norms are included where the library has them too.

    Raises:
        UserError: Where one differs by more than ``TOLERANCE`` of its norm.
    """
    library = LIBRARIES[name.partition(":")[0]]
    images = torch.randn(2, 3, 64, 96, device=device)
    # TF32 convolutions, cuDNN's default, have errors up to 1e-3.
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected = peer.eval()(images)
        is_classifier = isinstance(expected, torch.Tensor)
        with_norms = is_classifier or library.output_norms
        actual = ours.eval()(images) if with_norms else list(ours.eval().stage_maps(images))
    pairs = zip(*((y,) if is_classifier else y for y in (actual, expected)), strict=True)
    for i, (output, reference) in enumerate(pairs):
        error = ((output - reference).norm() / reference.norm()).item()
        if not error <= TOLERANCE:  # also where it is NaN
            part = "The output of our classifier" if is_classifier else f"Stage {i} of our backbone"
            raise UserError(
                f"{part} differs from {name} with the same weights by {error:.1e} of its norm "
                f"({TOLERANCE:.0e} is allowed): these are two functions, and their speeds cannot "
                f"be compared. Try another version of {library.package}."
            )
