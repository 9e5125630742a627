"""The kernels through Triton's compiler for each card, without a GPU: the interpreter is laxer."""

import pytest

from tests.kernels import launches, resources

pytestmark = pytest.mark.skipif(bool(resources.missing()), reason=resources.missing())

REGISTERS = 2**16  # of a multiprocessor


def _fits(case, row):
    """Shared memory within the card's, and nothing spilled but what docs/kernels.md names.

    ptxas gives up a few values of a thread where the registers of a multiprocessor suffice for one
    block more then. What starts anywhere is read value by value, each with an address.
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
    """The tile that deterministic algorithms take; of all the kernels it needs most registers."""
    case = launches.Case("product with GELU gradient", 90, 96)
    tile, sums = compiler.submit(resources.resources, case, first=True).result()
    assert (tile.config, tile.warps, sums.kernel) == ("BN 128, STEP 64", 8, "_sum_kernel")
    assert tile.spilled == 0 and _fits(case, tile) and _fits(case, sums), (tile, sums)


@pytest.mark.slow
@pytest.mark.parametrize("card", resources.CARDS)
def test_every_configuration_fits(compiler, card):
    """No spills, and shared memory within the card's: also of the first, without a choice."""
    rows = resources.table(compiler, launches.cases(card))
    assert {case.launch for case, _ in rows} == set(launches.LAUNCHES)
    assert len({row.kernel for _, row in rows}) == 6
    assert not [resources.line(*row) for row in rows if not _fits(*row)]


@pytest.mark.slow
def test_alignment_is_seen(compiler):
    """As a launch sees it: tensors that start anywhere are read value by value."""
    case = launches.Case("GELU gradient", 90, 128)
    wide = [
        ["ld.global.v4" in text for text in compiler.submit(resources.instructions, case).result()]
        for case in (case, case._replace(aligned=False))
    ]
    assert wide == [[True, False], [False, False]]
