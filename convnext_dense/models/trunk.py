"""The trunk of every ConvNeXt and its variants.

Detection and segmentation put output norms on the trunk (``backbone.py``), classification puts
pooling, norm and head on it (``classifier.py``). Parameter names are those of the official release,
so its files load without renaming.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.registry import MODELS
from timm.layers import LayerNorm2d
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.models.block import Block
from convnext_dense.models.staged_network import StagedNetwork, drop_path_rates
from convnext_dense.weights import load_pretrained
from convnext_dense.weights.loading import match_pretrained

# Blocks per stage and channels per stage. tiny to xlarge: section 3 of the paper; atto to nano:
# timm's small variants; huge: ConvNeXt V2.
VARIANTS: dict[str, dict[str, tuple[int, int, int, int]]] = {
    "atto": dict(depths=(2, 2, 6, 2), dims=(40, 80, 160, 320)),
    "femto": dict(depths=(2, 2, 6, 2), dims=(48, 96, 192, 384)),
    "pico": dict(depths=(2, 2, 6, 2), dims=(64, 128, 256, 512)),
    "nano": dict(depths=(2, 2, 8, 2), dims=(80, 160, 320, 640)),
    "tiny": dict(depths=(3, 3, 9, 3), dims=(96, 192, 384, 768)),
    "small": dict(depths=(3, 3, 27, 3), dims=(96, 192, 384, 768)),
    "base": dict(depths=(3, 3, 27, 3), dims=(128, 256, 512, 1024)),
    "large": dict(depths=(3, 3, 27, 3), dims=(192, 384, 768, 1536)),
    "xlarge": dict(depths=(3, 3, 27, 3), dims=(256, 512, 1024, 2048)),
    "huge": dict(depths=(3, 3, 27, 3), dims=(352, 704, 1408, 2816)),
}


@MODELS.register_module("ConvNeXtTrunk")
class Trunk(StagedNetwork):
    """Stem, downsampling layers and stages: the common part of all ConvNeXt models.

    Args:
        arch: A name in ``VARIANTS``, or ``dict(depths=..., dims=...)`` of four integers each.
        num_stages: Stages to build, 1 to 4.
        in_channels: Channels of the input image.
        drop_path_rate: Drop path rate (stochastic depth) of the last block; it grows linearly
            from 0.
        layer_scale_init_value: Initial gamma of every block; 0 builds blocks without gamma.
        frozen_stages: See :class:`StagedNetwork`.
        with_cp: As there, or "gelu": recompute only the activations between the MLP's two layers,
            which are a third of a block's activations and cost a hundredth of its time. The fast
            path always does so.
        use_grn: Build ConvNeXt V2 blocks (give ``layer_scale_init_value=0`` for the V2 release).
        fast: Let the blocks take their fast path, which has the same results; False always takes
            the plain path.
        half_stream: Under autocast, add the blocks' branches in its 16-bit type: less memory is
            read and written, and rounding errors are 1.2 to 1.6 times as large (docs/kernels.md).
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH_OR_URL)`` with the options of
            :func:`convnext_dense.weights.load_pretrained`, or any mmengine initialiser.

    Raises:
        UserError: For an unknown variant or an argument out of range.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Sequence[int]] = "tiny",
        *,
        num_stages: int = 4,
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        frozen_stages: int | str = -1,
        with_cp: bool | str = False,
        use_grn: bool = False,
        fast: bool = True,
        half_stream: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        depths, dims = parse_arch(arch)
        rates = drop_path_rates(drop_path_rate, sum(depths)).split(list(depths))
        block_options = dict(
            layer_scale_init_value=layer_scale_init_value,
            use_grn=use_grn,
            fast=fast,
            recompute_gelu=with_cp == "gelu",
            half_stream=half_stream,
        )
        super().__init__(
            depths=depths,
            dims=dims,
            downsample_layers=[_downsampling(dims, i, in_channels) for i in range(num_stages)],
            stages=[
                nn.Sequential(
                    *(
                        Block(dims[i], drop_path=drop_path, **block_options)
                        for drop_path in rates[i].tolist()
                    )
                )
                for i in range(num_stages)
            ],
            frozen_stages=frozen_stages,
            with_cp=with_cp != "gelu" and with_cp,
            init_cfg=init_cfg,
        )

    def init_weights(self) -> None:
        """Loads ``init_cfg``'s checkpoint and logs a report; other initialisers as in mmengine.

        Raises:
            UserError: When the file cannot be read safely or does not fit (see
                :func:`convnext_dense.weights.load_pretrained`).
        """
        options = self._pretrained_options()
        if options is None:
            super().init_weights()
            return
        report = load_pretrained(self, **options)
        print_log(str(report), logger="current")
        self.is_init = True

    def check_weights(self) -> None:
        """Checks the checkpoint that ``init_weights`` will load, without loading it.

        Raises:
            UserError: As :meth:`init_weights`.
        """
        options = self._pretrained_options()
        if options is not None:
            match_pretrained(self, **options)

    def _pretrained_options(self) -> dict[str, Any] | None:
        """The arguments of :func:`load_pretrained` in ``init_cfg``; None for other initialisers."""
        if not (isinstance(self.init_cfg, Mapping) and self.init_cfg.get("type") == "Pretrained"):
            return None
        options = {key: value for key, value in self.init_cfg.items() if key != "type"}
        known = inspect.signature(load_pretrained).parameters
        if unknown := sorted(set(options) - set(known)):
            raise UserError(
                f"init_cfg of ConvNeXt does not know {', '.join(unknown)}; namings are "
                f"recognised. Known: {', '.join(list(known)[1:])}."
            )
        return options


def _downsampling(dims: Sequence[int], stage: int, in_channels: int) -> nn.Sequential:
    """The stem (4x4, stride 4) before stage 0; LayerNorm and a 2x2 stride-2 conv elsewhere."""
    dim = dims[stage]
    if stage == 0:
        conv = nn.Conv2d(in_channels, dim, kernel_size=4, stride=4)
        return nn.Sequential(conv, LayerNorm2d(dim, eps=1e-6))
    previous = dims[stage - 1]
    conv = nn.Conv2d(previous, dim, kernel_size=2, stride=2)
    return nn.Sequential(LayerNorm2d(previous, eps=1e-6), conv)


def parse_arch(arch: str | Mapping[str, Sequence[int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Turns a variant name or ``dict(depths=..., dims=...)`` into (depths, dims).

    Raises:
        UserError: For an unknown name (the known ones are listed) or a malformed dict.
    """
    if isinstance(arch, str):
        if arch not in VARIANTS:
            raise UserError(f"Unknown ConvNeXt arch {arch!r}: choose one of {', '.join(VARIANTS)}.")
        arch = VARIANTS[arch]
    if not isinstance(arch, Mapping) or set(arch) != {"depths", "dims"}:
        raise UserError(f"arch must be a name or dict(depths=..., dims=...), got {arch!r}.")
    depths, dims = tuple(arch["depths"]), tuple(arch["dims"])
    numbers = (*depths, *dims)
    if len(depths) != 4 or len(dims) != 4 or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise UserError(
            f"arch needs four positive integers in depths and in dims, got {depths} and {dims}."
        )
    return depths, dims
