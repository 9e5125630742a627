"""The choice of batch, accumulation and checkpointing: the fastest one that fits."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from convnext_dense.errors import UserError
from convnext_dense.text_table import format_columns

MIB, GIB = 2**20, 2**30
# A setting fits where there is so much more than it is predicted to need: for what lies between
# tensors, and for what libraries keep.
MARGIN = 1.1
RESERVE = 64 * MIB
# From the fastest on: nothing is computed twice; activations of the MLPs; whole blocks.
CHECKPOINTING = (False, "gelu", "block")


@dataclass(frozen=True)
class Split:
    """How the images of a step are divided: batch x accumulated in each process."""

    batch: int
    accumulated: int


# Bytes of a split, for a kind of checkpointing.
Predictor = Callable[[bool | str | None], Callable[[Split], float]]


@dataclass(frozen=True)
class Row:
    """A setting and the bytes that it is predicted to need."""

    checkpointing: bool | str
    split: Split
    predicted: float


@dataclass(frozen=True)
class Choice:
    """The setting that was chosen, and the rows of the table: it and what was left out for it."""

    chosen: Row
    rows: Sequence[Row]


def possible_splits(
    images: int, allowed: Callable[[Split], bool] = lambda split: True
) -> list[Split]:
    """The ways to divide the images of a process's step, the largest batch first."""
    batches = [batch for batch in range(images, 0, -1) if images % batch == 0]
    return [s for s in (Split(batch, images // batch) for batch in batches) if allowed(s)]


def needed(predicted: float) -> float:
    """Bytes that there must be for a setting with this prediction."""
    return predicted * MARGIN + RESERVE


def choose(
    splits: Sequence[Split],
    checkpointing: Iterable[bool | str],
    predictor: Predictor,
    usable: float,
) -> Choice:
    """The least checkpointing with which any batch fits, and the largest batch with it.

    Args:
        splits: The largest batch first.
        checkpointing: From the fastest on; those after the first that fits are not tried.
        predictor: Bytes of a split, for a kind of checkpointing.
        usable: Bytes that are there.

    Raises:
        UserError: Where none fits; it says how much is missing.
    """
    rows: list[Row] = []
    for kind in checkpointing:
        predict = predictor(kind)
        tried = [Row(kind, split, predict(split)) for split in splits]
        fitting = [place for place, row in enumerate(tried) if needed(row.predicted) <= usable]
        if fitting:
            best = fitting[0]
            return Choice(tried[best], [*rows, *tried[max(0, best - 1) : best + 1]])
        rows.append(min(tried, key=lambda row: row.predicted))
    least = min(rows, key=lambda row: row.predicted)
    raise UserError(
        f"--fit-memory: the smallest setting, batches of {least.split.batch} with checkpointing "
        f"{kind_name(least.checkpointing)}, needs {needed(least.predicted) / GIB:.2f} GiB "
        f"({least.predicted / GIB:.2f} predicted, and a margin), and there are "
        f"{max(0, usable) / GIB:.2f}: give it {(needed(least.predicted) - usable) / GIB:.2f} GiB "
        "more, or take smaller images, a smaller model, or frozen parts."
    )


def kind_name(checkpointing: bool | str) -> str:
    """A kind of checkpointing as it is printed: off, gelu or block."""
    return {False: "off", True: "block"}.get(checkpointing, checkpointing)


def table(choice: Choice) -> list[str]:
    """The choice and what was left out for it, a line each."""
    rows = [("checkpointing", "batch", "accumulation", "predicted", "")]
    for row in choice.rows:
        verdict = "chosen" if row is choice.chosen else "too large"
        split = row.split
        rows.append(
            (
                kind_name(row.checkpointing),
                str(split.batch),
                str(split.accumulated),
                f"{row.predicted / GIB:.2f} GiB",
                verdict,
            )
        )
    return [f"  {line}" for line in format_columns(rows, ("<", ">", ">", ">", "<"))]
