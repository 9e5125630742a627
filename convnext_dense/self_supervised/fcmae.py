"""FCMAE: a masked autoencoder of convolutions (ConvNeXt V2, arXiv 2301.00808, section 3.1)."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from convnext_dense.errors import UserError
from convnext_dense.models import Block
from convnext_dense.models.staged_network import STRIDES, init_layer
from convnext_dense.self_supervised.masking import (
    choose_patch_size,
    draw_visible,
    masked_stage_maps,
    resize_mask,
)

EPS = 1e-6


@MODELS.register_module()
class MaskedAutoencoder(BaseModel):
    """Predicts the pixels of masked patches from the visible ones.

    The backbone is ``backbone`` in checkpoints, so detectors and segmentors start from them; the
    decoder is left behind.

    Args:
        backbone: Config of a ConvNeXtTrunk, with V1 or V2 blocks.
        data_preprocessor: Config of a ViewsPreprocessor.
        patch_size: Side of a patch in pixels: a divisor of 32 from 4 on, or a multiple of 32; None
            chooses it by the size of the images (``choose_patch_size``).
        mask_ratio: Share of the patches to mask.
        decoder_dim: Channels of the decoder.
        decoder_depth: Blocks of the decoder, which are ConvNeXt V2's.
        init_cfg: Any mmengine initialiser.

    Raises:
        UserError: For a mask ratio out of range.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        data_preprocessor: dict[str, Any],
        patch_size: int | None = None,
        mask_ratio: float = 0.6,
        decoder_dim: int = 512,
        decoder_depth: int = 1,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if not 0 < mask_ratio < 1:
            raise UserError(f"model.mask_ratio must be between 0 and 1, got {mask_ratio}.")
        self.patch_size, self.mask_ratio = patch_size, mask_ratio
        self.backbone = MODELS.build(backbone)
        channels = self.backbone.downsample_layers[0][0].in_channels
        blocks = [
            Block(decoder_dim, layer_scale_init_value=0, use_grn=True) for _ in range(decoder_depth)
        ]
        self.mask_token = nn.Parameter(torch.empty(1, decoder_dim, 1, 1).normal_(std=0.02))
        self.decoder = nn.ModuleDict(
            dict(
                embed=nn.Conv2d(self.backbone.dims[-1], decoder_dim, 1),
                blocks=nn.Sequential(*blocks),
                predict=nn.Conv2d(decoder_dim, STRIDES[-1] ** 2 * channels, 1),
            )
        )
        self.decoder.apply(init_layer)

    def forward(
        self, inputs: Tensor, paths: list[str] | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor]:
        """Runs one batch.

        Args:
            inputs: Normalised images (N, C, H, W), H and W multiples of 32 and of the patch size.
            paths: Names of the images.
            mode: ``tensor`` returns the last stage's feature map of the whole images,
                (N, D, H / 32, W / 32); ``loss`` returns ``{"loss": scalar}``.
        """
        if mode == "tensor":
            *_, features = self.backbone.stage_maps(inputs)
            return features
        side = self.patch_size or choose_patch_size(min(inputs.shape[-2:]))
        grid = inputs.shape[-2] // side, inputs.shape[-1] // side
        visible = draw_visible(len(inputs), grid, self.mask_ratio, inputs.device)
        return {"loss": masked_patch_loss(self.reconstruct(inputs, visible), inputs, visible)}

    def reconstruct(self, inputs: Tensor, visible: Tensor) -> Tensor:
        """The pixels that the decoder predicts from the visible patches.

        Args:
            inputs: Images (N, C, H, W).
            visible: The visible patches, bool (N, 1, h, w).

        Returns:
            (N, C, H, W), in the scale of patches with mean 0 and variance 1.
        """
        *_, features = masked_stage_maps(self.backbone, inputs, visible)
        x = self.decoder.embed(features)
        x = torch.where(resize_mask(visible, x.shape[-2:]), x, self.mask_token.to(x.dtype))
        x = self.decoder.predict(self.decoder.blocks(x))
        return F.pixel_shuffle(x, STRIDES[-1])


def masked_patch_loss(predicted: Tensor, images: Tensor, visible: Tensor) -> Tensor:
    """Mean squared error on the masked patches, whose pixels are normalised patch by patch.

    Args:
        predicted, images: (N, C, H, W).
        visible: The visible patches, bool (N, 1, h, w).

    Returns:
        The scalar.
    """
    grid = visible.shape[-2:]
    hidden = ~visible.flatten(1)
    target = split_patches(images.float(), grid)
    deviation = (target.var(-1, keepdim=True) + EPS).sqrt()
    target = (target - target.mean(-1, keepdim=True)) / deviation
    errors = (split_patches(predicted.float(), grid) - target).square().mean(-1)
    return errors[hidden].mean()


def split_patches(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """Images (N, C, H, W) as patches (N, h w, pixels and channels of a patch), row by row."""
    n, c, height, width = images.shape
    h, w = grid
    x = images.reshape(n, c, h, height // h, w, width // w)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(n, h * w, -1)
