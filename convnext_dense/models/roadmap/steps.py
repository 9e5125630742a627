"""The steps from ResNet to ConvNeXt as data: the changes and the paper's figures.

Sources: section 2 and appendix C, tables 10 and 11 (arXiv 2201.03545). docs/roadmap.md lists the
choices for layers that the paper does not describe.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any

from convnext_dense.errors import UserError


@dataclass(frozen=True)
class Design:
    """A network of the roadmap as switches, one for each step; they can be combined freely.

    Attributes:
        stage_ratio: Blocks of the four stages.
        width: Channels of the first stage's narrow layers; each stage doubles them.
        layer_scale: Initial factor of every residual branch, 0 for none. It belongs to the training
            recipe (table 5) and comes with it.
        patchify_stem: A 4x4 convolution of stride 4 instead of 7x7 of stride 2 and a max pool.
        depthwise_conv: Spatial convolutions work on each channel alone.
        inverted_bottleneck: Blocks are four times as wide inside as outside, not the reverse.
        move_up_depthwise_conv: The spatial convolution comes before both 1x1, not between them.
        kernel_size: Of the spatial convolution; odd.
        gelu: GELU instead of ReLU.
        fewer_activations: One activation a block, after its second convolution.
        fewer_norms: One norm in the residual branch, after its spatial convolution.
        layer_norm: LayerNorm over the channels instead of BatchNorm.
        separate_downsampling: A norm and a 2x2 convolution of stride 2 between the stages instead
            of a stride in their first blocks; norms after the stem and the last pooling.
    """

    stage_ratio: tuple[int, int, int, int]
    width: int = 64
    layer_scale: float = 0.0
    patchify_stem: bool = False
    depthwise_conv: bool = False
    inverted_bottleneck: bool = False
    move_up_depthwise_conv: bool = False
    kernel_size: int = 3
    gelu: bool = False
    fewer_activations: bool = False
    fewer_norms: bool = False
    layer_norm: bool = False
    separate_downsampling: bool = False

    def __post_init__(self) -> None:
        depths = tuple(self.stage_ratio)  # a config file may have a list
        object.__setattr__(self, "stage_ratio", depths)
        numbers = (*depths, self.width, self.kernel_size)
        if len(depths) != 4 or not all(isinstance(n, int) and n > 0 for n in numbers):
            raise UserError(
                "stage_ratio needs four positive integers, width and kernel_size one each; got "
                f"{depths}, {self.width} and {self.kernel_size}."
            )
        if self.kernel_size % 2 == 0:
            raise UserError(f"kernel_size must be odd, got {self.kernel_size}.")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the narrow layers of each stage."""
        return tuple(self.width * 2**i for i in range(4))

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels of each stage's feature map: the blocks' narrow or wide side."""
        return tuple(w * (1 if self.inverted_bottleneck else 4) for w in self.widths)

    def changed(self, switches: Mapping[str, Any]) -> "Design":
        """The design with other values for some switches.

        Raises:
            UserError: For an unknown switch, with the nearest name.
        """
        known = [f.name for f in fields(self)]
        for name in switches:
            check_name(name, known, "switch")
        return replace(self, **switches)


# The changes of each step in both regimes.
CHANGES: dict[str, dict[str, Any]] = {
    "resnet": {},
    "enhanced_recipe": dict(layer_scale=1e-6),
    "patchify_stem": dict(patchify_stem=True),
    "depthwise_conv": dict(depthwise_conv=True),
    "inverted_bottleneck": dict(inverted_bottleneck=True),
    "move_up_depthwise_conv": dict(move_up_depthwise_conv=True),
    "kernel_size_5": dict(kernel_size=5),
    "kernel_size_7": dict(kernel_size=7),
    "kernel_size_9": dict(kernel_size=9),
    "kernel_size_11": dict(kernel_size=11),
    "gelu": dict(kernel_size=7, gelu=True),  # 9 and 11 are tried, 7 is kept
    "fewer_activations": dict(fewer_activations=True),
    "fewer_norms": dict(fewer_norms=True),
    "layer_norm": dict(layer_norm=True),
    "separate_downsampling": dict(separate_downsampling=True),
}


@dataclass(frozen=True)
class Step:
    """One row of table 10 or 11: a change on top of all earlier ones, and the paper's figures.

    Attributes:
        name: The key by which configs name it.
        accuracy: ImageNet-1K top-1 in percent.
        std: Its standard deviation over three trainings; None where there was one.
        gflops: Billions of multiply-adds at 224 x 224, as printed.
        own: Its changes in this regime, in addition to or instead of :data:`CHANGES`.
    """

    name: str
    accuracy: float
    std: float | None
    gflops: float
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def changes(self) -> dict[str, Any]:
        """The switches that the step sets."""
        return {**CHANGES.get(self.name, {}), **self.own}


@dataclass(frozen=True)
class Regime:
    """One table of the paper.

    Attributes:
        table: Its number.
        title: The paper's names of the first and the last network.
        start: The ResNet.
        convnext: Variant that the last step is.
        drop_path_rate: Drop path rate of that variant (table 5), which all steps use.
        peer: (name, accuracy, GFLOPs) of the Swin Transformer in the same table.
        steps: Rows in the paper's order.
    """

    table: int
    title: str
    start: Design
    convnext: str
    drop_path_rate: float
    peer: tuple[str, float, float]
    steps: tuple[Step, ...]


REGIMES: dict[str, Regime] = {
    "resnet50": Regime(
        table=10,
        title="ResNet-50 / ConvNeXt-T",
        start=Design(stage_ratio=(3, 4, 6, 3)),
        convnext="tiny",
        drop_path_rate=0.1,
        peer=("Swin-T", 81.30, 4.50),
        steps=(
            Step("resnet", 76.13, None, 4.09),
            Step("enhanced_recipe", 78.82, 0.07, 4.09),
            Step("stage_ratio", 79.36, 0.07, 4.53, dict(stage_ratio=(3, 3, 9, 3))),
            Step("patchify_stem", 79.51, 0.18, 4.42),
            Step("depthwise_conv", 78.28, 0.08, 2.35),
            Step("width", 80.50, 0.02, 5.27, dict(width=96)),
            Step("inverted_bottleneck", 80.64, 0.03, 4.64),
            Step("move_up_depthwise_conv", 79.92, 0.08, 4.07),
            Step("kernel_size_5", 80.35, 0.08, 4.10),
            Step("kernel_size_7", 80.57, 0.14, 4.15),
            Step("kernel_size_9", 80.57, 0.06, 4.21),
            Step("kernel_size_11", 80.47, 0.11, 4.29),
            Step("gelu", 80.62, 0.14, 4.15),
            Step("fewer_activations", 81.27, 0.06, 4.15),
            Step("fewer_norms", 81.41, 0.09, 4.15),
            Step("layer_norm", 81.47, 0.09, 4.46),
            Step("separate_downsampling", 81.97, 0.06, 4.49),
        ),
    ),
    "resnet200": Regime(
        table=11,
        title="ResNet-200 / ConvNeXt-B",
        start=Design(stage_ratio=(3, 24, 36, 3)),
        convnext="base",
        drop_path_rate=0.5,
        peer=("Swin-B", 83.50, 15.43),
        steps=(
            Step("resnet", 78.20, None, 15.01),
            Step("enhanced_recipe", 81.14, None, 15.01),
            # The ratio alone would reduce the cost by 44 %, so the width grows too.
            Step("stage_ratio", 81.33, None, 14.52, dict(stage_ratio=(3, 3, 27, 3), width=84)),
            Step("patchify_stem", 81.59, None, 14.38),
            Step("depthwise_conv", 80.54, None, 7.23),
            Step("width", 81.85, None, 16.76, dict(width=128)),
            Step("inverted_bottleneck", 82.64, None, 15.68),
            Step("move_up_depthwise_conv", 82.04, None, 14.63),
            Step("kernel_size_5", 82.32, None, 14.70),
            Step("kernel_size_7", 82.30, None, 14.81),
            Step("kernel_size_9", 82.27, None, 14.95),
            Step("kernel_size_11", 82.18, None, 15.13),
            Step("gelu", 82.19, None, 14.81),
            Step("fewer_activations", 82.71, None, 14.81),
            Step("fewer_norms", 83.17, None, 14.81),
            Step("layer_norm", 83.35, None, 14.81),
            Step("separate_downsampling", 83.60, None, 15.35),
        ),
    ),
}


def design_at(regime: str, step: str) -> Design:
    """The design after a step: the regime's ResNet with all changes up to that step.

    Raises:
        UserError: For an unknown regime or step, with the nearest name.
    """
    steps = REGIMES[check_name(regime, REGIMES, "regime")].steps
    names = [row.name for row in steps]
    design = REGIMES[regime].start
    for row in steps[: names.index(check_name(step, names, "step")) + 1]:
        design = design.changed(row.changes)
    return design


def check_name(name: Any, known: Iterable[str], kind: str) -> str:
    """Returns a known name.

    Raises:
        UserError: For an unknown one, with the nearest name.
    """
    known = list(known)
    if name in known:
        return name
    near = get_close_matches(str(name), known, n=1, cutoff=0)[0]
    raise UserError(
        f"The roadmap has no {kind} {name!r}; the nearest is {near!r}. It has: {', '.join(known)}."
    )
