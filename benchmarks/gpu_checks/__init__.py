"""The checks of ``gpu.py --check``, by name. The first half of a name is the group.

Small ones come first, so that few are missing when the time is over.
"""

from . import backbones, blocks, operators, ways, wholes
from .check import Check, NotRun

__all__ = ["CHECKS", "Check", "NotRun"]

CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        *blocks.CHECKS,
        *ways.CHECKS,
        *backbones.CHECKS,
        *blocks.WIDE_CHECKS,
        *operators.CHECKS,
        *wholes.CHECKS,
    )
}
