"""ConvNeXt as the backbone of dense prediction, with feature maps at strides 4 to 32."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from mmengine.registry import MODELS
from timm.layers import LayerNorm2d

from convnext_dense.errors import UserError
from convnext_dense.models.signatures import takes_options_of
from convnext_dense.models.staged_network import check_out_indices
from convnext_dense.models.trunk import Trunk


def refuse_pretrained(weights: str) -> NoReturn:
    """Refuses the weights that a model of mmsegmentation names for its own backbone.

    Raises:
        UserError: Always; it says where weights of this backbone are named.
    """
    raise UserError(
        f"model.pretrained={weights!r} names weights of another backbone: set "
        "model.pretrained=None, and name those of ConvNeXt in model.backbone.init_cfg."
    )


@MODELS.register_module()
class ConvNeXt(Trunk):
    """ConvNeXt as a four-scale backbone (arXiv 2201.03545, section 3 and appendix A.3).

    ``norm{i}`` exists for emitted stages only, and stages after the last emitted one are not built:
    every trainable parameter receives a gradient, as DistributedDataParallel requires.

    Args:
        arch: A name in ``VARIANTS``, or ``dict(depths=..., dims=...)`` of four integers each.
        out_indices: Stages to emit, ascending.
        channels_last: False copies the maps into contiguous memory, for heads that view them as
            such (mmdet's CenterNet, mmsegmentation's DMNet).
        trunk_options: By name: in_channels, drop_path_rate, layer_scale_init_value, frozen_stages,
            with_cp, use_grn, fast, half_stream, init_cfg. See :class:`Trunk`.

    Raises:
        UserError: For an unknown variant or an argument out of range.
    """

    @takes_options_of(Trunk, except_for=("num_stages",))
    def __init__(
        self,
        arch: str | Mapping[str, Sequence[int]] = "tiny",
        *,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        channels_last: bool = True,
        **trunk_options: Any,
    ) -> None:
        if "pretrained" in trunk_options:  # mmsegmentation's models hand theirs on
            refuse_pretrained(trunk_options["pretrained"])
        emitted = check_out_indices(out_indices)
        super().__init__(arch, num_stages=emitted[-1] + 1, **trunk_options)
        self.out_indices = emitted
        self.channels_last = channels_last
        for i in emitted:
            self.add_module(f"norm{i}", LayerNorm2d(self.dims[i], eps=1e-6))
        self.freeze()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Maps a batch of images to one feature map per emitted stage.

        Args:
            x: (N, in_channels, H, W), H and W at least 32.

        Returns:
            Feature maps (N, dims[i], H_i, W_i) for i in ``out_indices``, in channels-last memory
            unless ``channels_last`` is False; H_i is H // 4 halved (rounded down) i times.
        """
        maps = (
            self.get_submodule(f"norm{i}")(y)
            for i, y in enumerate(self.stage_maps(x))
            if i in self.out_indices
        )
        return tuple(y if self.channels_last else y.contiguous() for y in maps)
