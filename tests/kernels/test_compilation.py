"""Compiles the kernels for each card, without a GPU: the interpreter accepts more than Triton."""

import pytest

from tests.kernels import launches, resources

pytestmark = pytest.mark.skipif(bool(resources.missing()), reason=resources.missing())

REGISTERS = 2**16  # per multiprocessor


def _fits(case, row):
    """Whether shared memory fits the card, and no registers spill except as in docs/kernels.md.

    ptxas spills a few values of a thread where this lets one more block run on a multiprocessor.
    Tensors without alignment are read value by value, each with an address.
    """
    blocks, without = (
        REGISTERS // (32 * row.warps * registers)
        for registers in (row.registers, row.registers + 8)
    )
    allowed = 32 if blocks > without else 0
    if not case.aligned and (row.config, row.warps) == ("BN 64, STEP 128", 4):
        allowed = 520
    return row.shared <= resources.CARDS[case.card] and row.spilled <= allowed


@pytest.fixture(scope="module")
def compiler():
    with resources.compiler(2) as pool:
        yield pool


def test_gradient_epilogue_spills_nothing(compiler):
    """The tile used with deterministic algorithms: of all kernels it needs most registers."""
    case = launches.Case("product with GELU gradient", 90, 96)
    tile, sums = compiler.submit(resources.resources, case, first=True).result()
    assert (tile.config, tile.warps, sums.kernel) == ("BN 128, STEP 64", 8, "_sum_kernel")
    assert tile.spilled == 0 and _fits(case, tile) and _fits(case, sums), (tile, sums)


@pytest.mark.slow
@pytest.mark.parametrize("card", resources.CARDS)
def test_every_configuration_fits(compiler, card):
    """No spills, and shared memory fits the card, for all configurations."""
    rows = resources.table(compiler, launches.cases(card))
    assert {case.launch for case, _ in rows} == set(launches.LAUNCHES)
    assert len({row.kernel for _, row in rows}) == 6
    assert not [resources.line(*row) for row in rows if not _fits(*row)]


@pytest.mark.slow
def test_alignment_is_seen(compiler):
    """As in a launch, tensors without alignment are read value by value."""
    case = launches.Case("GELU gradient", 90, 128)
    wide = [
        ["ld.global.v4" in text for text in compiler.submit(resources.instructions, case).result()]
        for case in (case, case._replace(aligned=False))
    ]
    assert wide == [[True, False], [False, False]]
