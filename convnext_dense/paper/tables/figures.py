"""The paper's figures of a config: read from the docstring that the config opens with."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

NUMBER = r"(\d+\.\d)"
# How docstrings name a figure -> its name in metrics.json. Percent there, fractions in ours.
PATTERNS = {
    f"{NUMBER} box AP": "bbox_mAP",
    f"{NUMBER} mask AP": "segm_mAP",
    f"{NUMBER} mIoU at a single scale": "mIoU",
    f"at a single scale, {NUMBER} at several": "mIoU of several scales",
    f"{NUMBER} mIoU at several scales": "mIoU of several scales",
    rf"{NUMBER} top-1 \(table \d\)\.": "top1",
    rf"{NUMBER} top-1 \(table \d\), of the averaged weights": "top1_ema",
}
STATEMENT = re.compile(r"^Paper(?: \(table \d\))?: .*?(?=^\w+:|^\s*$|\bOurs:|\Z)", re.M | re.S)


@dataclass(frozen=True)
class PaperFigures:
    """What the paper says of a config's row.

    Attributes:
        text: The docstring's statement.
        figures: Percent, by the names of ``metrics.json``; empty where the paper has no such row.
    """

    text: str
    figures: dict[str, float]


def paper_figures(config: Path) -> PaperFigures | None:
    """Reads the statement of a config file; None where it makes none."""
    docstring = ast.get_docstring(ast.parse(config.read_text(encoding="utf-8"))) or ""
    found = STATEMENT.search(docstring)
    if found is None:
        return None
    text = " ".join(found[0].split())
    # two patterns of one name exclude each other
    named = [(name, re.search(pattern, text)) for pattern, name in PATTERNS.items()]
    return PaperFigures(text, {name: float(match[1]) for name, match in named if match})


def find_config(name: str, configs: Path) -> Path | None:
    """The config file of a name, wherever under ``configs`` it lies."""
    return next(iter(sorted(configs.glob(f"*/{name}.py"))), None)
