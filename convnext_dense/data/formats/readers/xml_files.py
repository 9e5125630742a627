"""XML of annotation tools: read with a sentence where an entry is missing or wrong."""

import re
from math import isfinite
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from convnext_dense.errors import UserError

BEGIN = 4096  # bytes in which the root stands
ROOT = re.compile(rb"<([A-Za-z_][\w.-]*)[\s>/]")


def root_tag(path: Path) -> str | None:
    """The name of the root of an XML file, from its first bytes; None where it has none."""
    try:
        with path.open("rb") as handle:
            found = ROOT.search(handle.read(BEGIN))
    except OSError:
        return None
    return found.group(1).decode("ascii", "replace") if found else None


def read_xml(path: Path) -> Element:
    """The root of an XML file.

    Entities are not expanded: a file that declares some is refused.

    Raises:
        UserError: When it cannot be read, or is no whole XML.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    if b"<!ENTITY" in content:
        raise UserError(f"{path} declares XML entities, which annotation files have no use for.")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path} is no whole XML ({error}): copy or export it again.") from error


def text(element: Element, tag: str) -> str | None:
    """The text of an entry; None where there is none."""
    found = element.find(tag)
    return found.text.strip() if found is not None and found.text else None


def number(value: str | None, where: str) -> float:
    """A finite number.

    Raises:
        UserError: Names where it is missing or wrong.
    """
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if not isfinite(found):
        raise UserError(f"{where} is {value!r}, which is no number: correct or remove it.")
    return found
