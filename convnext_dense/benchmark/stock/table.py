"""The table of docs/families.md: a row for each family, reasons as numbered sentences below it."""

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from convnext_dense.benchmark.stock.check import PASSED, VARIANTS
from convnext_dense.benchmark.stock.families import TOOLBOXES, Family

BEGIN, END = "<!-- families: begin -->", "<!-- families: end -->"
HEADER = "| family | config | stock | our backbone |\n|---|---|---|---|"
ROW = re.compile(r"^\| `(mm\w+)/([^`]+)` \| `([^`]+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
NOTE = re.compile(r"^(\d+)\. ", re.MULTILINE)
COLUMNS = 100  # of a page's lines; a table's row cannot be broken


@dataclass(frozen=True)
class Row:
    """What a family came to: variant -> ``yes`` or a reason."""

    toolbox: str
    name: str
    config: str
    outcomes: dict[str, str]

    @classmethod
    def of(cls, family: Family, outcomes: dict[str, str]) -> "Row":
        """The row of a family that was checked."""
        return cls(family.toolbox, family.name, family.config.stem, outcomes)


def render(rows: Iterable[Row]) -> str:
    """Counts, the table and its reasons, as Markdown between the marks."""
    rows = list(rows)
    reasons: dict[str, int] = {}

    def cell(outcome: str) -> str:
        if outcome == PASSED:
            return PASSED
        number = reasons.setdefault(outcome, len(reasons) + 1)
        return f"{PASSED if outcome.startswith(PASSED) else 'no'} ({number})"

    lines = [
        f"| `{row.toolbox}/{row.name}` | `{row.config}` | "
        + " | ".join(cell(row.outcomes[variant]) for variant in VARIANTS)
        + " |"
        for row in rows
    ]
    counts = [
        f"{toolbox}: {len(own)} families, "
        + ", ".join(
            f"{sum(row.outcomes[variant].startswith(PASSED) for row in own)} {words}"
            for variant, words in zip(VARIANTS, ("as they are", "with our backbone"), strict=True)
        )
        + "."
        for toolbox in TOOLBOXES
        if (own := [row for row in rows if row.toolbox == toolbox])
    ]
    notes = [wrapped(f"{number}. {reason}") for reason, number in reasons.items()]
    parts = [wrapped(" ".join(counts)), "\n".join([HEADER, *lines]), "\n".join(notes)]
    return "\n\n".join([BEGIN, *parts, END])


def wrapped(text: str) -> str:
    """In lines of the page's width; what follows a number is indented."""
    return textwrap.fill(text, COLUMNS, subsequent_indent="   " if NOTE.match(text) else "")


def read(page: Path) -> list[Row]:
    """The rows of a page that :func:`render` has written, with their reasons; none without it."""
    text = page.read_text(encoding="utf-8").partition(BEGIN)[2] if page.is_file() else ""
    _, *parts = NOTE.split(text.partition(END)[0])
    notes = {
        number: " ".join(note.split()) for number, note in zip(parts[::2], parts[1::2], strict=True)
    }

    def outcome(cell: str) -> str:
        return notes[cell.split("(")[1].rstrip(")")] if "(" in cell else cell

    return [
        Row(toolbox, name, config, dict(zip(VARIANTS, map(outcome, cells), strict=True)))
        for toolbox, name, config, *cells in ROW.findall(text)
    ]


def replace(page: Path, rows: Iterable[Row]) -> str:
    """The page's text with these rows in place of the old ones."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    return before + render(rows) + rest.partition(END)[2]
