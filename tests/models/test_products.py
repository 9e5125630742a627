"""The CPU's matrix products: the same values from either library, chosen by the processor alone."""

import pytest
import torch
import torch.nn.functional as F

from convnext_dense import processor
from convnext_dense.models.fast import cpu_path, products
from tests.models.test_fast import assert_close, both, new_block

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"),
    reason="this torch has no oneDNN",
)


@pytest.fixture(params=[pytest.param(processor.AMD, marks=needs_onednn), processor.INTEL])
def vendor(request, monkeypatch) -> str:
    """The processor's vendor; the choice is made anew."""
    monkeypatch.setattr(processor, "vendor", lambda: request.param)
    products._onednn_is_faster.cache_clear()
    yield request.param
    products._onednn_is_faster.cache_clear()


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """Activations of the products that oneDNN computes from here on."""
    found, operator = [], torch.ops.mkldnn._linear_pointwise

    def record(*arguments):
        found.append(arguments[3])
        return operator(*arguments)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", record)
    return found


@pytest.mark.parametrize("rows, inner, outer", [(1, 192, 5), (300, 384, 96), (77, 96, 384)])
def test_products_are_torchs(vendor, rows, inner, outer):
    draw = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(shape, generator=draw) for shape in ((rows, inner), (outer, inner), (outer,))
    )
    exact = F.linear(x.double(), weight.double(), bias.double())
    assert_close([exact, F.gelu(exact)], [products.linear(x, weight, bias),
                                          products.linear_gelu(x, weight, bias)])  # fmt: skip
    transposed = weight.T.contiguous().T
    assert_close([exact - bias.double()], [products.linear(x, transposed)])


# 64 channels: products with short rows stay torch's, those with rows of 256 do not.
@pytest.mark.parametrize("dim", [64, 192])
def test_blocks_have_the_plain_paths_results_and_gradients(vendor, calls, dim, monkeypatch):
    monkeypatch.setattr(cpu_path, "MLP_ROWS", 50)  # several parts, the last one smaller
    block = new_block(dim)
    x = torch.randn(2, dim, 9, 13, generator=torch.Generator().manual_seed(2))
    assert_close(*both(block, x), band=2e-5)
    assert bool(calls) == (vendor == processor.AMD)
    block.fast, calls[:] = True, []
    with torch.no_grad():
        found = block(x)
        expected = block.double()._add_branch_plain(x.double(), 1.0)
    assert_close([expected], [found])
    assert ("gelu" in calls) == (vendor == processor.AMD)


def test_float64_stays_torchs(vendor, calls):
    x = torch.ones(3, 256, dtype=torch.float64)
    found = products.linear(x, x), products.linear_gelu(x, x, x[:, 0])
    assert {one.dtype for one in found} == {torch.float64}
    assert not calls


def test_onednn_can_be_switched_off(vendor, calls):
    with torch.backends.mkldnn.flags(enabled=False):
        products.linear(torch.ones(3, 256), torch.ones(3, 256))
    assert not calls
