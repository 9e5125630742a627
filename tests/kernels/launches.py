"""The kernel launches that are compiled for each card, with the arguments of a block."""

from typing import NamedTuple

import torch

# The paper's widths are 3 or 1 times a power of two: blocks of few and of many channels of both
# kinds for the kernels that hold pixels; for products also a width below a tile's.
PIXEL_WIDTHS = (96, 128, 768, 1024, 1536, 2048)
PRODUCT_WIDTHS = (96, 512, 2048)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class Case(NamedTuple):
    """A launch that is compiled.

    Attributes:
        launch: A name among `LAUNCHES`.
        card: Its compute capability, as 90.
        channels: C of the block.
        dtype: A name among `DTYPES`; fp32 with the suffix ``-tf32`` where products may round.
        half_model: Parameters and the residual stream have this dtype too, as without autocast.
        aligned: Tensors start at multiples of 16 bytes, as new ones do; slices may not.
    """

    launch: str
    card: int
    channels: int
    dtype: str = "bf16"
    half_model: bool = False
    aligned: bool = True


def _convolution(draw, c, dtype, own, save):
    from convnext_dense.kernels import depthwise

    vectors = (draw(c, dtype=own) for _ in range(3))
    x, w = draw(1, 2, 3, c, dtype=dtype), draw(c, 1, 7, 7, dtype=own)
    depthwise.convolve_and_normalise(x, w, *vectors, 1e-6, save)


def _input_gradient(draw, c, dtype, own):
    from convnext_dense.kernels import depthwise

    depthwise.input_gradient(draw(1, 2, 3, c, dtype=dtype), draw(c, 1, 7, 7, dtype=own))


def _filter_gradient(draw, c, dtype, own):
    from convnext_dense.kernels import depthwise

    depthwise.filter_gradient(*(draw(1, 2, 3, c, dtype=dtype) for _ in range(2)))


def _norm_gradients(draw, c, dtype, own):
    from convnext_dense.kernels import norm

    maps = (draw(1, 2, 3, c, dtype=dtype) for _ in range(2))
    statistics = (draw(1, 2, 3, dtype=torch.float32) for _ in range(2))
    norm.norm_gradients(*maps, *statistics, draw(c, dtype=own))


def _expand(draw, c, dtype, own, save):
    from convnext_dense.kernels import products

    y, w = draw(6, c, dtype=dtype), draw(4 * c, c, dtype=dtype)
    products.expand(y, w, draw(4 * c, dtype=own), save)


def _project(draw, c, dtype, own, gamma):
    from convnext_dense.kernels import products

    g, w = draw(6, 4 * c, dtype=dtype), draw(c, 4 * c, dtype=dtype)
    b, scale = (draw(c, dtype=own) for _ in range(2))
    products.project(g, w, b, scale if gamma else None, draw(6, c, dtype=own))


def _product_gradient(draw, c, dtype, own):
    from convnext_dense.kernels import products

    d, w, h = draw(6, c, dtype=dtype), draw(c, 4 * c, dtype=dtype), draw(6, 4 * c, dtype=dtype)
    products.gelu_gradient_of_product(d, w, h)


def _gelu_gradient(draw, c, dtype, own):
    from convnext_dense.kernels import products

    products.gelu_gradient(*(draw(6, 4 * c, dtype=dtype) for _ in range(2)))


PIXELS = {
    "convolution": (_convolution, False),
    "convolution, saving": (_convolution, True),
    "input gradient": (_input_gradient,),
    "filter gradient": (_filter_gradient,),
    "norm gradient": (_norm_gradients,),
}
PRODUCTS = {
    "expand": (_expand, False),
    "expand, saving": (_expand, True),
    "project": (_project, True),
    "project without gamma": (_project, False),
    "product with GELU gradient": (_product_gradient,),
    "GELU gradient": (_gelu_gradient,),
}
LAUNCHES = PIXELS | PRODUCTS


def cases(card: int) -> list[Case]:
    """The launches for a card: autocast to bf16 in all widths, other settings in few."""
    found = [Case(launch, card, c) for c in PIXEL_WIDTHS for launch in PIXELS]
    found += [Case(launch, card, c) for c in PRODUCT_WIDTHS for launch in PRODUCTS]
    found += [Case(launch, card, c, "fp32") for c in (128, 2048) for launch in PIXELS]
    found += [Case(launch, card, 128, "fp16") for launch in PIXELS]
    found += [
        Case(launch, card, 96, dtype)
        for dtype in ("fp16", "fp32", "fp32-tf32")
        for launch in PRODUCTS
    ]
    if card == 90:  # These changes do not depend on the card.
        for change in (dict(half_model=True), dict(aligned=False)):
            found += [Case(launch, card, 128)._replace(**change) for launch in LAUNCHES]
    return found
