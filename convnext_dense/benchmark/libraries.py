"""Other libraries' networks: for each library, how it builds a backbone or a classifier.

``plain`` is our own network on its plain path, with which its kernels are compared. All have random
weights; nothing is downloaded.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import timm
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from convnext_dense.errors import UserError
from convnext_dense.models import VARIANTS, ConvNeXt, ConvNeXtClassifier

# Families of torchvision -> the names of their four stages.
STAGES = {
    ("convnext", "swin"): [f"features.{i}" for i in (1, 3, 5, 7)],
    ("resnet", "resnext", "wide_resnet"): [f"layer{i}" for i in (1, 2, 3, 4)],
    ("regnet",): [f"trunk_output.block{i}" for i in (1, 2, 3, 4)],
}


@dataclass(frozen=True)
class Library:
    """How a library's models are found and built.

    Attributes:
        package: The package that must be installed.
        naming: Its naming in :data:`convnext_dense.weights.namings.TARGETS`.
        names: Lists its models.
        build: Builds a model from its name, (height, width), and the number of classes; None builds
            a backbone with feature maps at several scales.
        output_norms: Whether its backbones have our output norms.
    """

    package: str
    naming: str
    names: Callable[[], Sequence[str]]
    build: Callable[[str, tuple[int, int], int | None], nn.Module]
    output_norms: bool = False

    def check(self, model: str) -> None:
        """Refuses a library that is not installed.

        Raises:
            UserError: With the command that installs it.
        """
        if importlib.util.find_spec(self.package) is None:
            raise UserError(
                f"The peer {self.package}:{model} needs {self.package}, which is not installed: "
                f"run pip install {self.package}, or choose another peer."
            )


def _timm(model: str, image_size: tuple[int, int], num_classes: int | None) -> nn.Module:
    options = dict(img_size=image_size) if timm.get_pretrained_cfg(model).fixed_input_size else {}
    options |= dict(features_only=True) if num_classes is None else dict(num_classes=num_classes)
    try:
        return timm.create_model(model, **options)
    except (AssertionError, RuntimeError, TypeError) as error:  # by timm's model families
        output = "features" if num_classes is None else "logits"
        height, width = image_size
        raise UserError(
            f"timm:{model} gives no {output} of {height} x {width} images ({error}): choose "
            "another peer or --image-size."
        ) from error


def _torchvision(model: str, image_size: tuple[int, int], num_classes: int | None) -> nn.Module:
    if num_classes is not None:
        return torchvision.models.get_model(model, num_classes=num_classes)
    for families, nodes in STAGES.items():
        if model.startswith(families):
            network = torchvision.models.get_model(model)
            extractor = create_feature_extractor(network, {n: str(i) for i, n in enumerate(nodes)})
            return _with_output(extractor, lambda features: list(features.values()))
    raise UserError(
        f"The four feature maps of torchvision:{model} are not known: compare whole classifiers "
        f"(cls:tiny), or choose one of {', '.join(f for known in STAGES for f in known)}."
    )


def _transformers(model: str, image_size: tuple[int, int], num_classes: int | None) -> nn.Module:
    library = importlib.import_module("transformers")
    arch = VARIANTS[_variant(model)]
    sizes = dict(hidden_sizes=list(arch["dims"]), depths=list(arch["depths"]))
    if num_classes is None:
        stages = [f"stage{i}" for i in (1, 2, 3, 4)]
        network = library.ConvNextBackbone(library.ConvNextConfig(out_features=stages, **sizes))
        return _with_output(network, lambda output: output.feature_maps)
    config = library.ConvNextConfig(num_labels=num_classes, **sizes)
    classifier = library.ConvNextForImageClassification(config)
    return _with_output(classifier, lambda output: output.logits)


def _mmpretrain(model: str, image_size: tuple[int, int], num_classes: int | None) -> nn.Module:
    try:
        models = importlib.import_module("mmpretrain.models")
    except Exception as error:  # with newer libraries its imports fail in many ways
        raise UserError(
            f"mmpretrain cannot be imported here ({type(error).__name__}: {error}): install "
            "transformers below 5 with it, or choose another peer."
        ) from error
    arch = VARIANTS[_variant(model)]
    sizes = dict(depths=list(arch["depths"]), channels=list(arch["dims"]))
    if num_classes is None:
        backbone = models.ConvNeXt(sizes, out_indices=(0, 1, 2, 3), gap_before_final_norm=False)
        return models.ImageClassifier(backbone)  # without a head, for the prefix of its names
    head = dict(type="LinearClsHead", in_channels=arch["dims"][-1], num_classes=num_classes)
    return models.ImageClassifier(models.ConvNeXt(sizes), head=head)


def _plain(model: str, image_size: tuple[int, int], num_classes: int | None) -> nn.Module:
    options = dict(arch=_variant(model), layer_scale_init_value=1.0, fast=False)
    return (
        ConvNeXt(**options) if num_classes is None else ConvNeXtClassifier(num_classes, **options)
    )


def _with_output(network: nn.Module, pick: Callable) -> nn.Module:
    """The network, with tensors instead of its own type of output."""
    network.register_forward_hook(lambda _module, _inputs, output: pick(output))
    return network


def _variant(model: str) -> str:
    return model.removeprefix("convnext_")


def _convnext_names() -> list[str]:
    return [f"convnext_{variant}" for variant in VARIANTS]


LIBRARIES = {
    "timm": Library("timm", "timm", timm.list_models, _timm),
    "torchvision": Library(
        "torchvision",
        "torchvision",
        lambda: torchvision.models.list_models(module=torchvision.models),
        _torchvision,
    ),
    "mmpretrain": Library(
        "mmpretrain", "mmpretrain", _convnext_names, _mmpretrain, output_norms=True
    ),
    "transformers": Library(
        "transformers", "transformers", _convnext_names, _transformers, output_norms=True
    ),
    "plain": Library("convnext_dense", "ours", _convnext_names, _plain, output_norms=True),
}
