"""The kernels through Triton's compiler for an H100, without a GPU: the interpreter is laxer."""

import shutil
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")
tl = triton.language

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from convnext_dense.kernels import depthwise, norm, partial_sums, products, tiles  # noqa: E402

PTXAS = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (PTXAS.exists() or shutil.which("ptxas")), reason="this Triton has no ptxas"
    ),
]

FLOATS = {"mean", "rstd", "partial", "w", "b", "ln_w", "ln_b", "bias", "gamma"}
# Everything else is bf16; so is `b` of the product, a matrix there and not a bias.
PRODUCT = products._product_kernel.fn
INTEGERS = {"H", "W", "N", "M", "SIZE", "PIXELS", "ROWS", "COLUMNS"}


def _compile(kernel, config=None, **constants):
    while not isinstance(kernel, triton.JITFunction):
        kernel = kernel.fn
    warps = dict(num_warps=config.num_warps, num_stages=config.num_stages) if config else {}
    constants |= dict(ACC=tl.float32, **(config.kwargs if config else {}))
    signature = {
        name: "constexpr" if name in constants
        else "i32" if name in INTEGERS
        else "*fp32" if name in FLOATS and (kernel, name) != (PRODUCT, "b")
        else "*bf16"
        for name in kernel.arg_names
    }  # fmt: skip
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32), options=warps).asm["cubin"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize("forward", [True, False])
def test_convolution(forward):
    block, chunks = tiles.split_channels(96, 2048 if forward else tiles.GRADIENT_CHANNELS)
    _compile(
        depthwise._convolution_kernel, tiles.CONVOLUTION[0],
        C=96, EPS=1e-6, BLOCK=block, CHUNKS=chunks if forward else 1, PADDED=128, TH=8,
        FLIP=not forward, NORM=forward, SAVE=forward,
    )  # fmt: skip


def test_filter_gradient():
    _compile(
        depthwise._filter_gradient_kernel, C=96, BLOCK=32, TH=8, TW=tiles.GRADIENT_TW
    )  # fmt: skip


def test_norm_gradient():
    _compile(norm._norm_gradient_kernel, C=96, BLOCK=32, CHUNKS=3, P=16)


def test_sums():
    _compile(partial_sums._sum_kernel, R=tiles.SUM_ROWS, B=tiles.SUM_COLUMNS)


@pytest.mark.parametrize("epilogue", ["gelu", "residual", "gradient"])
def test_product(epilogue):
    n, k = (96, 384) if epilogue == "residual" else (384, 96)
    strides = (n, 1) if epilogue == "gradient" else (1, k)
    _compile(
        products._product_kernel, tiles.PRODUCT[0],
        N=n, K=k, STRIDE_K=strides[0], STRIDE_N=strides[1], EPILOGUE=epilogue, SAVE=True,
        GAMMA=True, WIDE=False, PRECISION="ieee", BM=tiles.BM,
    )  # fmt: skip


def test_gelu_gradient():
    _compile(products._gelu_gradient_kernel, N=384, BM=tiles.BM, BN=64)
