"""Loading a trained classifier from a checkpoint of this project or of another library.

A run stores its config as text in the checkpoint. It is read as plain data and not executed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convnext_dense.classification.classifier import TimmModel
from convnext_dense.classification.preprocessing import ClassificationPreprocessor
from convnext_dense.classification.readers import class_names
from convnext_dense.classification.transforms import TestTransform
from convnext_dense.config.plain import read_plain
from convnext_dense.errors import UserError
from convnext_dense.models import (
    ConvNeXtClassifier,
    ConvNeXtRoadmapClassifier,
    IsotropicConvNeXt,
)
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import compare, trained_classes
from convnext_dense.weights.loading import find_state_dict
from convnext_dense.weights.recognise import find_backbone

# The only networks that are built from a checkpoint's config.
NETWORKS = {
    network.__name__: network
    for network in (ConvNeXtClassifier, IsotropicConvNeXt, ConvNeXtRoadmapClassifier, TimmModel)
}
PREFIX = "backbone."
NAMED_BY_COUNT = {1000: "imagenet-1k", 21841: "imagenet-22k"}


@dataclass(frozen=True)
class TrainedClassifier:
    """A network with its weights and its test settings.

    Attributes:
        network: Maps normalised images (N, 3, H, W) to logits (N, len(classes)).
        preprocessor: Normalises a collated batch of uint8 images.
        transform: Arguments of the TestTransform that the network was trained for.
        classes: Class names in the order of the logits.
        source: The checkpoint as the user named it.
    """

    network: nn.Module
    preprocessor: ClassificationPreprocessor
    transform: dict[str, Any]
    classes: tuple[str, ...]
    source: str

    def to(self, device: torch.device) -> "TrainedClassifier":
        """Moves the network and the preprocessor to a device."""
        self.network.to(device)
        self.preprocessor.to(device)
        return self

    @torch.inference_mode()
    def logits(self, batch: Mapping[str, Any]) -> Tensor:
        """Logits (N, classes) of a collated batch, in float32 on the CPU."""
        return self.network(self.preprocessor(batch)["inputs"]).float().cpu()


def open_classifier(
    checkpoint: str | Path,
    config: Mapping[str, Any] | None = None,
    ema: bool = False,
    size: int | None = None,
) -> TrainedClassifier:
    """Builds the classifier of a checkpoint and loads all its weights.

    Args:
        checkpoint: A checkpoint of tools/pretrain_cls.py, or a ConvNeXt classifier of the official
            release, timm, torchvision, mmpretrain or transformers: a file, an https address or an
            official name. Without a config, the variant is found from the shapes.
        config: A classification config that replaces the one in the checkpoint.
        ema: Load the averaged weights.
        size: Side of the tested images in pixels; by default that of the config, otherwise 224, or
            384 if the official name contains it.

    Raises:
        UserError: If the file is not a classifier, lacks weights or does not name its classes.
    """
    return build_classifier(read_checkpoint(checkpoint), str(checkpoint), config, ema, size)


def build_classifier(
    content: Mapping[str, Any],
    source: str,
    config: Mapping[str, Any] | None = None,
    ema: bool = False,
    size: int | None = None,
) -> TrainedClassifier:
    """The same from the content of a checkpoint that was read already; ``source`` names it."""
    state, _ = find_state_dict(content, ema)
    config = config or stored_config(content)
    if config is not None and any(name.startswith(PREFIX) for name in state):
        network = _from_config(config, state, source)
        state = {name.removeprefix(PREFIX): value for name, value in state.items()}
    else:
        network, state = _from_shapes(state, source)
    if config is None:
        transform, statistics = dict(size=384 if source.endswith("_384") else 224), {}
    else:
        transform, statistics = _test_settings(config)
    matching, differences = compare(network, state)
    if differences:
        raise UserError(
            f"The weights of {source} do not match the model of its config: {differences}."
        )
    network.load_state_dict(matching)
    classes = _classes(content, config, network.num_classes, source)
    if size is not None:
        transform["size"] = size
    TestTransform(**transform)  # raises for wrong arguments
    preprocessor = ClassificationPreprocessor(network.num_classes, **statistics)
    return TrainedClassifier(network.eval(), preprocessor.eval(), transform, classes, source)


def stored_config(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """The model and test data of the config that a run stored in its checkpoint.

    Returns:
        None if there is no config, or the config of another project's model.

    Raises:
        UserError: If the text is not plain data.
    """
    text = (content.get("meta") or {}).get("cfg")
    if not isinstance(text, str) or not any(name in text for name in NETWORKS):
        return None
    try:
        return read_plain(text, ("model", "test_dataloader"))
    except (SyntaxError, ValueError) as error:
        raise UserError(
            f"The config in the checkpoint cannot be read ({error}): give its file by --config."
        ) from error


def _from_config(config: Mapping[str, Any], state: Mapping[str, Tensor], source: str) -> nn.Module:
    settings = dict((config.get("model") or {}).get("backbone") or {})
    name = settings.pop("type", None)
    if name not in NETWORKS:
        raise UserError(
            f"{source} is not a classifier: its config has the backbone {name}, and only "
            f"{', '.join(NETWORKS)} classify images."
        )
    settings.pop("init_cfg", None)  # all weights are in the checkpoint
    for key, value in state.items():  # the number of classes, if the config has none
        if key.endswith(("head.weight", "head.fc.weight")):
            settings.setdefault("num_classes", len(value))
    try:
        return NETWORKS[name](**settings)
    except TypeError as error:
        raise UserError(f"The config of {source} cannot build its {name}: {error}.") from error


def _test_settings(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of the test transform, and the mean and std that images are normalised with."""
    data = (config.get("test_dataloader") or {}).get("dataset") or {}
    transform = dict(data.get("transform") or {})
    if transform.pop("type", None) != "TestTransform":
        raise UserError("The config's test_dataloader has no TestTransform: give another --config.")
    preprocessor = config["model"].get("data_preprocessor") or {}
    return transform, {key: preprocessor[key] for key in ("mean", "std") if key in preprocessor}


def _from_shapes(
    state: Mapping[str, Tensor], source: str
) -> tuple[nn.Module, Mapping[str, Tensor]]:
    """The network of a file without a config, and its weights with our names."""
    if "blocks.0.dwconv.weight" in state:
        blocks = {name.split(".")[1] for name in state if name.startswith("blocks.")}
        arch = dict(depth=len(blocks), dim=len(state["blocks.0.dwconv.weight"]))
        gamma = 1.0 if "blocks.0.gamma" in state else 0.0
        return IsotropicConvNeXt(_outputs(state, source), arch, layer_scale_init_value=gamma), state
    found = find_backbone(state)
    if found.unknown:
        raise UserError(
            f"{source} is of another architecture: a ConvNeXt classifier does not have "
            f"{', '.join(found.unknown[:3])}."
        )
    state = found.state
    blocks = {tuple(m.groups()) for n in state if (m := re.match(r"stages\.(\d)\.(\d+)\.", n))}
    stages = [str(i) for i in range(4)]
    network = ConvNeXtClassifier(
        _outputs(state, source),
        arch=dict(
            depths=[sum(stage == i for stage, _ in blocks) for i in stages],
            dims=[len(state[f"stages.{i}.0.dwconv.weight"]) for i in stages],
        ),
        layer_scale_init_value=1.0 if "stages.0.0.gamma" in state else 0.0,
        use_grn="stages.0.0.grn.gamma" in state,
    )
    return network, state


def _outputs(state: Mapping[str, Tensor], source: str) -> int:
    if "head.weight" not in state:
        raise UserError(f"{source} is not a classifier: its ConvNeXt has no head.")
    return len(state["head.weight"])


def _classes(
    content: Mapping[str, Any], config: Mapping[str, Any] | None, count: int, source: str
) -> tuple[str, ...]:
    data = ((config or {}).get("test_dataloader") or {}).get("dataset") or {}
    stated = trained_classes(content) or (data.get("metainfo") or {}).get("classes")
    stated = stated or NAMED_BY_COUNT.get(count)
    if stated is None:
        raise UserError(
            f"{source} has {count} classes and does not name them: give a config with "
            "metainfo.classes by --config."
        )
    names = class_names(stated)
    if len(names) != count:
        raise UserError(f"{source} names {len(names)} classes, but its head has {count} outputs.")
    return names
