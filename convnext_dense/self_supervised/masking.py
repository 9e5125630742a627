"""A ConvNeXt that sees a part of an image: submanifold sparse convolution on dense feature maps.

Masked positions hold 0 wherever a convolution reads them: after the stem, after each block, and
after the norm of each downsampling layer. So a convolution reads what a sparse one reads. All other
layers work on single positions, except for ConvNeXt V2's global response normalisation, which reads
visible positions only. So features of visible positions do not depend on what is masked.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convnext_dense.errors import UserError
from convnext_dense.models import Block, Trunk
from convnext_dense.models.fast import cpu_path
from convnext_dense.models.layers import channels_last

STEM = 4  # pixels: the stem's windows, which a patch must not cut
STRIDE = 32  # pixels: the last stage's
PATCHES = (32, 16, 8, 4)  # sides that fit into both
FEWEST = 4  # patches along a side of an image


def choose_patch_size(image_size: int) -> int:
    """Side of the patches for square images: the largest that leaves 4 x 4 of them, at most 32.

    FCMAE has patches of 32 pixels at 224: the last stage's positions. Smaller images would have
    four patches of which one is visible.
    """
    fitting = [side for side in PATCHES if image_size // side >= FEWEST]
    return max(fitting, default=PATCHES[-1])


def check_patch_size(patch_size: int, image_size: int) -> None:
    """Checks that patches of a size divide square images.

    Raises:
        UserError: When they do not, or cut positions of a feature map.
    """
    if image_size % STRIDE or image_size < STRIDE:
        raise UserError(
            f"Masked pretraining needs an image size that is a multiple of {STRIDE}, got "
            f"{image_size}: give --image-size {max(1, round(image_size / STRIDE)) * STRIDE}."
        )
    fits = patch_size % STRIDE == 0 or patch_size in PATCHES
    if not fits or image_size % patch_size or image_size == patch_size:
        sizes = [side for side in PATCHES if side < image_size]
        raise UserError(
            f"model.patch_size {patch_size} does not divide images of {image_size} x {image_size} "
            f"pixels into patches of whole positions: choose {', '.join(map(str, sizes))} or a "
            f"multiple of {STRIDE} that divides {image_size}."
        )


def draw_visible(
    images: int, grid: tuple[int, int], mask_ratio: float, device: torch.device | str
) -> Tensor:
    """Draws the visible patches, equally many for each image.

    Args:
        images: Number of images N.
        grid: Patches along height and width.
        mask_ratio: Share of the patches to mask; at least one stays visible, and one is masked.
        device: Where to draw.

    Returns:
        (N, 1, *grid), bool.
    """
    patches = grid[0] * grid[1]
    kept = min(max(1, int(patches * (1 - mask_ratio))), patches - 1)
    order = torch.rand(images, patches, device=device).argsort(1)
    return (order < kept).view(images, 1, *grid)  # a random order of 0, 1, ...


def masked_stage_maps(trunk: Trunk, images: Tensor, visible: Tensor) -> Iterator[Tensor]:
    """Yields each stage's feature map, 0 where a position has nothing visible below it.

    Args:
        trunk: The network; a patch smaller than a stage's stride makes each position visible that
            has a visible patch below it, as a strided sparse convolution does.
        images: (N, C, H, W); what they hold in masked patches is not read.
        visible: The visible patches, bool (N, 1, h, w); h divides H, and w divides W.
    """
    x = channels_last(images)
    hidden = None
    for downsample, blocks in zip(trunk.downsample_layers, trunk.stages, strict=True):
        if hidden is None:
            x = downsample(x)  # the stem, whose windows lie in one patch each
        else:
            norm, conv = downsample
            x = conv(norm(x).masked_fill(hidden, 0))  # a norm turns 0 into its bias
        hidden = ~resize_mask(visible, x.shape[-2:])
        x = x.masked_fill(hidden, 0)
        for block in blocks:
            if trunk.with_cp and torch.is_grad_enabled():
                x = checkpoint(masked_block, block, x, hidden, use_reentrant=False)
            else:
                x = masked_block(block, x, hidden)
        yield x


def resize_mask(visible: Tensor, size: tuple[int, int]) -> Tensor:
    """The visible positions of a feature map: those with a visible patch below them.

    Args:
        visible: (N, 1, h, w), bool.
        size: (H, W) of the feature map: multiples of (h, w), or divisors.
    """
    if size[0] >= visible.shape[-2]:
        repeats = [new // old for new, old in zip(size, visible.shape[-2:], strict=True)]
        return visible.repeat_interleave(repeats[0], 2).repeat_interleave(repeats[1], 3)
    return F.adaptive_max_pool2d(visible.float(), size) > 0


def masked_block(block: Block, x: Tensor, hidden: Tensor) -> Tensor:
    """A block on the visible positions.

    Args:
        block: Any block, with or without global response normalisation.
        x: (N, C, H, W), 0 at masked positions.
        hidden: The masked positions, bool (N, 1, H, W).

    Returns:
        As x.
    """
    if isinstance(block.grn, nn.Identity):  # all layers but the convolution read one position
        return block(x).masked_fill(hidden, 0)
    y = _depthwise(block, x).permute(0, 2, 3, 1)
    y = block.act(block.pwconv1(block.norm(y)))
    y = block.grn(y.masked_fill(hidden.permute(0, 2, 3, 1), 0))
    y = block.pwconv2(y)
    if block.gamma is not None:
        y = block.gamma * y
    y = y.permute(0, 3, 1, 2).masked_fill(hidden, 0)
    return x + block.drop_path(y)


def _depthwise(block: Block, x: Tensor) -> Tensor:
    """The block's convolution; on a CPU with the weight gradient that is fast there."""
    conv, plain = block.dwconv, x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    if plain and block.fast and type(conv) is nn.Conv2d and x.dtype in cpu_path.DTYPES:
        return cpu_path.depthwise(x, conv)
    return conv(x)
