"""Configs as plain data, nothing in which is executed: resolved Python, YAML, JSON.

A config in YAML or JSON stands alone and names what this project and its toolboxes registered.
Where Python has a tuple, which some transforms insist on, YAML has ``!tuple [1333, 800]`` and JSON
``{"!tuple": [1333, 800]}``.
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from mmengine.registry import registry

from convnext_dense.config.config_tree import walk
from convnext_dense.errors import UserError

SUFFIXES = (".yaml", ".yml", ".json")
TUPLE = "!tuple"
# What a plain config may have imported: modules that register, and nothing that is lying around.
PACKAGES = ("convnext_dense", "mmdet", "mmseg", "mmcv", "mmengine")
SCOPES = ("default_scope", "_scope_")


def read_plain_file(path: Path) -> dict[str, Any]:
    """Reads a config in YAML or JSON, and has mmengine build registered classes alone from now on.

    mmengine takes any import path for a ``type``, such as ``subprocess.Popen``; a process that has
    read a plain config refuses these to its end.

    Raises:
        UserError: When the file is no such data, has a base, or wants other modules imported.
    """
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".json":
            content = json.loads(text, object_hook=_tuple_of_json)
        else:
            content = yaml.load(text, Loader=_Loader)  # SafeLoader's child
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is no plain config: {reason}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is no config: it holds a {type(content).__name__}.")
    check_imports(content, str(path))
    _build_registered_classes_alone()
    return content


def check_imports(content: dict[str, Any], source: str) -> None:
    """Refuses a plain config that has a base, or wants other than known modules imported.

    Args:
        content: The whole config.
        source: Its name for the message.

    Raises:
        UserError: See above.
    """
    if "_base_" in content:
        raise UserError(
            f"{source} names a _base_, but a plain config stands alone: write the whole one with "
            "convnext-dense print-config CONFIG.py --out FILE."
        )
    imports = (content.get("custom_imports") or {}).get("imports") or []
    scopes = [node[key] for node in walk(content) for key in SCOPES if node.get(key)]
    for name in [*([imports] if isinstance(imports, str) else imports), *scopes]:
        if str(name).split(".")[0] not in PACKAGES:
            raise UserError(
                f"{source} wants {name!r} imported: a plain config may name modules of "
                f"{', '.join(PACKAGES)} alone; a .py config may import anything."
            )


def format_plain(config: dict[str, Any], suffix: str) -> str:
    """Writes a config as YAML or JSON.

    Args:
        config: Of numbers, texts, lists, tuples and dicts.
        suffix: One of ``SUFFIXES``.

    Raises:
        UserError: When the config holds something else, such as a class or a function.
    """
    try:
        if suffix == ".json":
            return json.dumps(_json_of_tuples(config), indent=2, ensure_ascii=False) + "\n"
        return yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    except (TypeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"The config has no form in {suffix[1:].upper()}: {reason}.") from error


class _Loader(yaml.SafeLoader):
    """Plain data and tuples, without references; 1e-4 is a number, as everywhere but in YAML."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):  # a few lines of them can stand for gigabytes
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "references (*name) are not read", mark)
        return super().compose_node(parent, index)


_Loader.add_constructor(
    TUPLE, lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


class _Dumper(yaml.SafeDumper):
    """Plain data and tuples, without references."""

    def ignore_aliases(self, data) -> bool:
        return True


_Dumper.add_representer(
    tuple, lambda dumper, value: dumper.represent_sequence(TUPLE, value, flow_style=True)
)


def _tuple_of_json(found: dict[str, Any]) -> Any:
    return tuple(found[TUPLE]) if found.keys() == {TUPLE} else found


def _json_of_tuples(node: Any) -> Any:
    if isinstance(node, dict):
        if odd := [key for key in node if not isinstance(key, str)]:
            raise TypeError(f"the key {odd[0]!r} is no text")
        return {key: _json_of_tuples(value) for key, value in node.items()}
    if isinstance(node, tuple):
        return {TUPLE: [_json_of_tuples(value) for value in node]}
    return [_json_of_tuples(value) for value in node] if isinstance(node, list) else node


def _build_registered_classes_alone() -> None:
    """Closes mmengine's two ways from a text in a config to an import."""
    registry.get_object_from_string = lambda name: None
    registry.import_module = _import_of(PACKAGES)


@contextmanager
def building_registered_classes_alone() -> Iterator[None]:
    """The same while a model is built from a config that a checkpoint brought; then as before."""
    before = registry.get_object_from_string, registry.import_module
    _build_registered_classes_alone()
    try:
        yield
    finally:
        registry.get_object_from_string, registry.import_module = before


def _import_of(packages: Collection[str]) -> Callable[[str], ModuleType]:
    def import_known(name: str) -> ModuleType:
        if name.split(".")[0] not in packages:
            raise ImportError(f"{name} is none of {', '.join(packages)}")
        return import_module(name)

    return import_known


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
    assignments = {
        target.id: node.value
        for node in assigned
        for target in node.targets[:1]
        if isinstance(target, ast.Name)
    }
    return {
        name: _literal(node) for name, node in assignments.items() if names is None or name in names
    }


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


def format_python(text: str) -> str:
    """A config's text that Python reads again: it prints numbers that are none as bare names."""
    lines = text.splitlines(keepends=True)
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    for token, after in zip(tokens[-2::-1], tokens[:0:-1], strict=True):
        if token.type == tokenize.NAME and token.string in ("nan", "inf") and after.string != "=":
            (row, start), (_, end) = token.start, token.end
            line = lines[row - 1]
            lines[row - 1] = f'{line[:start]}float("{token.string}"){line[end:]}'
    return "".join(lines)
