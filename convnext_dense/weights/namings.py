"""How each library names the parameters of a ConvNeXt, as data: one entry per library.

Every entry maps the official release's names and shapes to the library's. The translation itself is
in ``formats.py``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

STAGES = range(4)


@dataclass(frozen=True)
class Naming:
    """One library's names. In templates ``{i}`` is the stage, ``*`` the block's number.

    ``{next}``, ``{even}`` and ``{odd}`` are i + 1, 2 i and 2 i + 1.

    Attributes:
        name: Its name on the command line.
        stem: Names of the stem's convolution and norm.
        downsampling: Names of the norm and the convolution before stages 1 to 3.
        block: Template of a block.
        inside: Official name of a block's part -> the library's name.
        final_norm: The classifier's norm.
        head: The classifier's linear layer.
        output_norm: Template of the norm of an emitted stage; None where there is none.
        outside: Names outside the backbone's prefix.
        gamma_shape: Shape of the layer scale, -1 for its length.
        grn_shape: The same for the parameters of V2's global response normalisation.
        conv_mlp_widths: Widths of the first stage of the variants whose MLPs are 1x1 convolutions
            in the library's own models; those of other variants are linear layers.
    """

    name: str
    stem: tuple[str, str]
    downsampling: tuple[str, str]
    block: str
    inside: Mapping[str, str]
    final_norm: str
    head: str
    output_norm: str | None = None
    outside: tuple[str, ...] = ()
    gamma_shape: tuple[int, ...] = (-1,)
    grn_shape: tuple[int, ...] = (-1,)
    conv_mlp_widths: tuple[int, ...] = ()
    names: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", dict(_table(self)))


def _table(naming: Naming) -> Iterable[tuple[str, str]]:
    """Pairs (official name, the library's name) of all parameters, ``*`` for the block's number."""

    def affine(official: str, theirs: str) -> Iterable[tuple[str, str]]:
        for parameter in ("weight", "bias"):
            yield f"{official}.{parameter}", f"{theirs}.{parameter}"

    yield from affine("norm", naming.final_norm)
    yield from affine("head", naming.head)
    for i in STAGES:
        numbers = dict(i=i, next=i + 1, even=2 * i, odd=2 * i + 1)
        layers = naming.downsampling if i else naming.stem
        for k, layer in enumerate(layers):
            yield from affine(f"downsample_layers.{i}.{k}", layer.format(**numbers))
        if naming.output_norm:
            yield from affine(f"norm{i}", naming.output_norm.format(**numbers))
        block = naming.block.format(**numbers)
        for official, theirs in naming.inside.items():
            if official in ("gamma", "grn.gamma", "grn.beta"):
                yield f"stages.{i}.*.{official}", f"{block}.{theirs}"
            else:
                yield from affine(f"stages.{i}.*.{official}", f"{block}.{theirs}")


def _inside(*names: str) -> dict[str, str]:
    official = ("dwconv", "norm", "pwconv1", "pwconv2", "gamma", "grn.gamma", "grn.beta")
    return dict(zip(official, names, strict=True))


def _official(name: str) -> Naming:
    return Naming(
        name=name,
        stem=("downsample_layers.0.0", "downsample_layers.0.1"),
        downsampling=("downsample_layers.{i}.0", "downsample_layers.{i}.1"),
        block="stages.{i}.*",
        inside=_inside("dwconv", "norm", "pwconv1", "pwconv2", "gamma", "grn.gamma", "grn.beta"),
        final_norm="norm",
        head="head",
        output_norm="norm{i}",
        grn_shape=(1, 1, 1, -1),
    )


OFFICIAL = _official("official")
TIMM = Naming(
    name="timm",
    stem=("stem.0", "stem.1"),
    downsampling=("stages.{i}.downsample.0", "stages.{i}.downsample.1"),
    block="stages.{i}.blocks.*",
    inside=_inside(
        "conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma", "mlp.grn.weight", "mlp.grn.bias"
    ),
    final_norm="head.norm",
    head="head.fc",
    conv_mlp_widths=(40, 48, 64, 80),  # atto, femto, pico, nano
)
# timm.create_model(..., features_only=True) flattens the outer modules.
TIMM_FEATURES = replace(
    TIMM,
    name="timm features_only",
    stem=("stem_0", "stem_1"),
    downsampling=("stages_{i}.downsample.0", "stages_{i}.downsample.1"),
    block="stages_{i}.blocks.*",
)
TORCHVISION = Naming(
    name="torchvision",
    stem=("features.0.0", "features.0.1"),
    downsampling=("features.{even}.0", "features.{even}.1"),
    block="features.{odd}.*",
    # torchvision has no V2: no names for its normalisation.
    inside={
        "dwconv": "block.0",
        "norm": "block.2",
        "pwconv1": "block.3",
        "pwconv2": "block.5",
        "gamma": "layer_scale",
    },
    final_norm="classifier.0",
    head="classifier.2",
    gamma_shape=(-1, 1, 1),
)
# fastai takes the children of a torchvision model apart: `features` becomes the first of them.
FASTAI = replace(
    TORCHVISION,
    name="fastai (torchvision)",
    stem=("0.0.0", "0.0.1"),
    downsampling=("0.{even}.0", "0.{even}.1"),
    block="0.{odd}.*",
)
MMPRETRAIN = Naming(
    name="mmpretrain",
    stem=OFFICIAL.stem,
    downsampling=OFFICIAL.downsampling,
    block=OFFICIAL.block,
    inside=_inside(
        "depthwise_conv",
        "norm",
        "pointwise_conv1",
        "pointwise_conv2",
        "gamma",
        "grn.gamma",
        "grn.beta",
    ),
    # Its classifiers name their final norm as the last stage's output norm.
    final_norm="norm3",
    head="head.fc",
    output_norm="norm{i}",
    outside=("head.fc",),
)
TRANSFORMERS = Naming(
    name="transformers",
    stem=("embeddings.patch_embeddings", "embeddings.layernorm"),
    downsampling=(
        "encoder.stages.{i}.downsampling_layer.0",
        "encoder.stages.{i}.downsampling_layer.1",
    ),
    block="encoder.stages.{i}.layers.*",
    inside=_inside(
        "dwconv",
        "layernorm",
        "pwconv1",
        "pwconv2",
        "layer_scale_parameter",
        "grn.weight",
        "grn.bias",
    ),
    final_norm="layernorm",
    head="classifier",
    output_norm="hidden_states_norms.stage{next}",
    outside=("classifier",),
    grn_shape=(1, 1, 1, -1),
)
DINOV3 = Naming(
    name="transformers DINOv3",
    stem=("stages.0.downsample_layers.0", "stages.0.downsample_layers.1"),
    downsampling=("stages.{i}.downsample_layers.0", "stages.{i}.downsample_layers.1"),
    block="stages.{i}.layers.*",
    inside={
        "dwconv": "depthwise_conv",
        "norm": "layer_norm",
        "pwconv1": "pointwise_conv1",
        "pwconv2": "pointwise_conv2",
        "gamma": "gamma",
    },
    final_norm="layer_norm",
    head="classifier",
    outside=("layer_norm", "classifier"),
)
# Namings that files can be written in; this project's own names are the official ones.
TARGETS = {
    "ours": _official("ours"),
    **{n.name: n for n in (OFFICIAL, TIMM, TORCHVISION, MMPRETRAIN, TRANSFORMERS)},
}
# Namings that are recognised in files.
NAMINGS = (
    OFFICIAL,
    TIMM,
    TIMM_FEATURES,
    TORCHVISION,
    FASTAI,
    MMPRETRAIN,
    TRANSFORMERS,
    DINOV3,
)
