"""Numbers that tools write as texts or floats."""

import math
import re
from typing import Any

WHOLE = re.compile(r"[+-]?\d{1,30}(\.0*)?")


def whole(value: Any) -> int | None:
    """The whole number that a number or a text is; None where it is none."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    if isinstance(value, str) and WHOLE.fullmatch(value.strip()):
        return int(value.strip().partition(".")[0])
    return None


def number(value: Any) -> float | int | None:
    """The finite number that a number or a text is; None where it is none."""
    if type(value) in (int, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        try:
            return number(float(value))
        except ValueError:
            return None
    return None


def numbers(values: Any) -> list[float | int] | None:
    """A list of such numbers; None where one of them is none, or it is no list."""
    if not isinstance(values, list):
        return None
    try:  # one pass in C over what may be a hundred million coordinates
        if math.isfinite(sum(values)):
            return values
    except (TypeError, OverflowError):
        pass
    found = [number(value) for value in values]
    return None if None in found else found
