"""The paper's figures of a config, read from the config's docstring."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

NUMBER = r"(\d+\.\d+)"
SEEDS = r"(?: \+- \d\.\d+ over three seeds)?"
# Text in a docstring -> key in metrics.json. Docstrings have percent, metrics.json fractions.
PATTERNS = {
    f"{NUMBER} box AP": "bbox_mAP",
    f"{NUMBER} mask AP": "segm_mAP",
    f"{NUMBER} mIoU at a single scale": "mIoU",
    f"at a single scale, {NUMBER} at several": "mIoU of several scales",
    f"{NUMBER} mIoU at several scales": "mIoU of several scales",
    rf"{NUMBER}{SEEDS} top-1 \(table \d+\)\.": "top1",
    rf"{NUMBER} top-1 \(table \d\), of the averaged weights": "top1_ema",
}
STATEMENT = re.compile(r"^Paper(?: \(table \d\))?: .*?(?=^\w+:|^\s*$|\bOurs:|\Z)", re.M | re.S)


@dataclass(frozen=True)
class PaperFigures:
    """The paper's figures of a config's row.

    Attributes:
        text: The statement in the docstring.
        figures: Figures in percent, by key of ``metrics.json``; empty if the paper has no row.
    """

    text: str
    figures: dict[str, float]


def paper_figures(config: Path) -> PaperFigures | None:
    """Reads the statement of a config file; None without a statement."""
    docstring = ast.get_docstring(ast.parse(config.read_text(encoding="utf-8"))) or ""
    statement = STATEMENT.search(docstring)
    if statement is None:
        return None
    text = " ".join(statement[0].split())
    # Only one of two patterns with the same key can match.
    matches = [(key, re.search(pattern, text)) for pattern, key in PATTERNS.items()]
    return PaperFigures(text, {key: float(match[1]) for key, match in matches if match})


def find_config(name: str, configs: Path) -> Path | None:
    """The config of that name that can be trained, in any folder below ``configs``."""
    found = sorted(configs.rglob(f"{name}.py"))
    return next((one for one in found if "_base_" not in one.relative_to(configs).parts), None)
