"""The kernels in Triton's interpreter: indices, masks, formulas and registrations, not speed."""

import pytest
import torch

# Images smaller and larger than the filter, odd sizes, widths that are no power of two, one and
# three blocks of channels. The interpreter is slow, so some of them are marked slow.
SHAPES = [
    (1, 40, 3, 5),
    (1, 96, 9, 1),
    pytest.param((1, 100, 5, 3), marks=pytest.mark.slow),
    pytest.param((1, 768, 5, 1), marks=pytest.mark.slow),
    (1, 2048, 1, 1),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_depthwise_and_norm(interpreter, shape):
    interpreter("depthwise", shape)


def test_depthwise_of_a_strided_image(interpreter):
    interpreter("depthwise", (1, 16, 3, 4), torch.float32, False)


@pytest.mark.slow
def test_depthwise_in_float64(interpreter):
    interpreter("depthwise", (1, 17, 2, 3), torch.float64)


@pytest.mark.parametrize("gamma", [True, False])
@pytest.mark.parametrize("fused", [(True, True), (True, False), (False, True), (False, False)])
def test_mlp(interpreter, fused, gamma):
    interpreter("mlp", 40, 130, *fused, gamma)


@pytest.mark.parametrize("c", [96, 100])
def test_mlp_widths(interpreter, c):
    interpreter("mlp", c, 3, True, True)


@pytest.mark.parametrize("fused", [True, False])
def test_mlp_in_float64(interpreter, fused):
    interpreter("mlp", 17, 5, fused, fused, True, torch.float64)


@pytest.mark.parametrize(
    "name",
    [
        "dwconv_norm",
        pytest.param("dwconv_norm_backward", marks=pytest.mark.slow),
        "mlp",
        pytest.param("mlp_backward", marks=pytest.mark.slow),
    ],
)
def test_registration(interpreter, name):
    interpreter("opcheck", name)


@pytest.mark.parametrize(
    "stream", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.slow)], ids=str
)
def test_autocast(interpreter, stream):
    interpreter("autocast", stream)


@pytest.mark.parametrize(
    "name",
    [
        "interpreted",
        "gradcheck",
        "block",
        "compiled",
        "checkpointed",
        "saved_memory",
        "without_save",
        "half_precision_gamma",
        "split",
    ],
)
def test_other_checks(interpreter, name):
    interpreter(name)
