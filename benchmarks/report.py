"""The output of gpu.py: the choice of parts by name, the tables, and the faster path."""

import math
from collections.abc import Sequence

from processes import Row

from convnext_dense.errors import UserError

STATES = ("passed", "FAILED", "not run")
# Column -> number of decimals.
COLUMNS = {"ours": 1, "plain": 1, "peer": 1, "ratio": 2, "wanted": 2, "to_plain": 2, "memory": 2,
           "of_ideal": 2}  # fmt: skip
MARGIN = 1.02  # a smaller ratio does not count as faster


def choose(texts: Sequence[str], known: Sequence[str]) -> list[str]:
    """The parts with one of the texts in their name; a complete name selects only that part.

    Raises:
        UserError: For a text that no name contains.
    """
    chosen = set()
    for text in texts:
        matching = [text] if text in known else [name for name in known if text in name]
        if not matching:
            raise UserError(f"No part has {text!r} in its name: --list prints all names.")
        chosen.update(matching)
    return [name for name in known if name in chosen]


def check_table(rows: Sequence[Row]) -> str:
    """One line per check, and their counts."""
    text = [f"{row.name:34}{row.state:>9}{row.seconds:8.1f} s  {row.said}".rstrip() for row in rows]
    counts = {state: sum(row.state == state for row in rows) for state in STATES}
    return "\n".join([*text, ", ".join(f"{n} {state}" for state, n in counts.items())])


def speed_table(rows: Sequence[Row]) -> str:
    """Plain text, one line per row: images/s, ratios, memory and our share of the ideal speed."""
    text = [f"{'':34}" + "".join(f"{name.replace('_', ' '):>9}" for name in COLUMNS)]
    for row in rows:
        values = [(getattr(row, name), digits) for name, digits in COLUMNS.items()]
        cells = (f"{'-':>9}" if v is None else f"{v:9.{digits}f}" for v, digits in values)
        state = "" if row.state == "measured" else f"{row.state}: "
        text.append(f"{row.name:34}{''.join(cells)}  {state}{row.said}".rstrip())
    return "\n".join(text)


def verdict(rows: Sequence[Row], kernels: str) -> str:
    """One sentence on the faster path.

    Args:
        rows: Rows of the speed lines.
        kernels: The reason why the kernels did not run; empty where they did.
    """
    if kernels:
        return f"The figures say nothing about the fused kernels, which did not run: {kernels}"
    ratios = {row.name: row.to_plain for row in rows if row.to_plain}
    if not ratios:
        return "No line has figures of both paths: nothing is favoured."
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    slower = [name for name, ratio in ratios.items() if ratio < 1]
    speed = f"{mean:.2f} times the plain path's speed over {len(ratios)} of {len(rows)} lines"
    slower_in = f"slower in {', '.join(slower)}" if slower else "slower in none"
    path = "fused kernels" if mean >= MARGIN else "plain path"
    return f"The figures favour the {path}: the kernels have {speed} (geometric mean), {slower_in}."
