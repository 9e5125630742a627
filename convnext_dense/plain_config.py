"""Resolved configs as plain data: nothing in them is executed."""

import ast
from collections.abc import Collection
from typing import Any


def read_plain(text: str, names: Collection[str] | None = None) -> dict[str, Any]:
    """Reads a resolved config, which assigns literals and ``dict(...)`` of literals to names.

    Args:
        text: The config's text, as runs write it into work folders and checkpoints.
        names: The names to read; all of them by default.

    Raises:
        ValueError: When something is no literal.
        SyntaxError: When the text is no Python.
    """
    assigned = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
    found = {
        target.id: node.value
        for node in assigned
        for target in node.targets[:1]
        if isinstance(target, ast.Name)
    }
    return {name: _literal(node) for name, node in found.items() if names is None or name in names}


def _literal(node: ast.AST) -> Any:
    """The value of an expression of numbers, texts, lists, tuples and dicts; no other calls."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        if node.args or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("dict() with unnamed entries")
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {_literal(k): _literal(v) for k, v in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.List | ast.Tuple):
        kind = list if isinstance(node, ast.List) else tuple
        return kind(map(_literal, node.elts))
    return ast.literal_eval(node)
