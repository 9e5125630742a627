"""``--cfg-options``: entries of a config to replace."""

import difflib
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config, DictAction

from convnext_dense.errors import UserError

ALIKE = 0.8  # likeness from which a name is taken for a misspelling of another


def parse_options(texts: Mapping[str, str]) -> dict[str, Any]:
    """The values of ``KEY=VALUE`` pairs, as mmengine reads them; a plain text keeps its spaces."""
    return {
        key: DictAction._parse_iterable(text)
        if any(mark in text for mark in ",[]()")
        else DictAction._parse_int_float_bool(text.strip("'\""))
        for key, text in texts.items()
    }


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
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, IndexError, AssertionError) as error:
        raise UserError(f"--cfg-options does not fit the config: {error}") from error


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
