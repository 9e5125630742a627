"""``--cfg-options``: entries of a config to replace."""

import difflib
from ast import literal_eval
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config, DictAction

from convnext_dense.errors import UserError

ALIKE = 0.8  # likeness from which a name is taken for a misspelling of another


def parse_options(texts: Mapping[str, str]) -> dict[str, Any]:
    """The values of ``KEY=VALUE`` pairs, as mmengine reads them; a plain text keeps its spaces.

    A value with braces is a Python literal, such as ``{'depths': [2, 2, 6, 2]}``, which mmengine
    does not know.

    Raises:
        UserError: For a value with brackets that is neither.
    """
    return {key: _parse(key, text) for key, text in texts.items()}


def _parse(key: str, text: str) -> Any:
    try:
        if "{" in text and text[0] in "{[(":
            return literal_eval(text)
        if any(mark in text for mark in ",[]()"):
            return DictAction._parse_iterable(text)
        return DictAction._parse_int_float_bool(text.strip("'\""))
    except (SyntaxError, ValueError, AssertionError, RecursionError):
        raise UserError(
            f"--cfg-options {key}={text} is no value: close each bracket, and quote names inside "
            "of braces, as in \"{'depths': [2, 2, 6, 2]}\" (the outer quotes are the shell's)."
        ) from None


def merge_options(cfg: Config, options: dict[str, Any]) -> None:
    """Replaces entries of a config by ``{"dotted.key": value}``.

    Raises:
        UserError: When the config has no such section, or the value does not fit there.
    """
    for key in options:
        section = key.split(".")[0]
        if section not in cfg:
            near = difflib.get_close_matches(section, list(cfg), n=1, cutoff=0)
            raise UserError(
                f"--cfg-options {key}: the config has no {section!r}; the nearest is {near[0]!r}."
            )
        check_option(cfg, key)
    options = {key: _replacing(cfg, key, value) for key, value in options.items()}
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, IndexError, AssertionError) as error:
        raise UserError(f"--cfg-options does not fit the config: {error}") from error


def _replacing(cfg: Config, key: str, value: Any) -> Any:
    """A dict in place of something else says so, which mmengine asks for."""
    node: Any = cfg._cfg_dict
    for name in key.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    if isinstance(value, dict) and node is not None and not isinstance(node, Mapping):
        return {**value, "_delete_": True}
    return value


def check_option(cfg: Config, key: str) -> None:
    """Refuses an option that adds an entry of nearly the name of one that is there.

    Entries of a ``dict(type=...)`` are checked by
    :func:`convnext_dense.config.check_types.check_types_and_settings`.

    Raises:
        UserError: Names the nearest entry.
    """
    node: Any = cfg._cfg_dict
    for name in key.split("."):
        if isinstance(node, list | tuple) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
            continue
        if not isinstance(node, Mapping):
            return
        if name not in node:
            near = difflib.get_close_matches(name, list(node), n=1, cutoff=ALIKE)
            if near and "type" not in node:
                raise UserError(
                    f"--cfg-options {key}: the config has no {name!r} there; the nearest is "
                    f"{near[0]!r}."
                )
            return
        node = node[name]


def options_below(options: Mapping[str, Any] | None, prefix: str) -> dict[str, Any]:
    """The options whose key begins with ``prefix.``, without it."""
    return {
        key.removeprefix(f"{prefix}."): value
        for key, value in (options or {}).items()
        if key.startswith(f"{prefix}.")
    }
