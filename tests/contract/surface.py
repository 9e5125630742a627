"""What this package asks of mmengine, mmcv, mmdet and mmseg, read from its source.

Names that it imports, attributes of them, calls with their arguments, and methods of their classes
that its own classes override or call by ``super()``. Nothing of the package is imported.
"""

import ast
import importlib
import inspect
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIBRARIES = ("mmengine", "mmcv", "mmdet", "mmseg")


@dataclass(frozen=True)
class Use:
    """One place in the source.

    Attributes:
        place: ``file:line``.
        path: Dotted path of the name, as ``mmengine.config.Config.fromfile``.
        positional: Number of arguments by position, None where it is not called.
        named: Names of arguments.
        whole: False for a call with ``*`` or ``**``, of which not every argument is known.
    """

    place: str
    path: str
    positional: int | None = None
    named: tuple[str, ...] = ()
    whole: bool = True


def uses_of(folder: Path) -> Iterator[Use]:
    """Every use in the Python files of a folder."""
    for file in sorted(folder.rglob("*.py")):
        yield from uses_in(file.read_text(encoding="utf-8"), str(file.relative_to(folder.parent)))


def uses_in(source: str, file: str) -> Iterator[Use]:
    """Every use in one file."""
    tree = ast.parse(source)
    bound: dict[str, set[str]] = defaultdict(set)
    for node in ast.walk(tree):
        for name, path, imported in imports_of(node):
            bound[name].add(path)
            yield Use(f"{file}:{node.lineno}", imported)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            for path in paths_of(node, bound):
                yield Use(f"{file}:{node.lineno}", path)
        elif isinstance(node, ast.Call):
            for path in paths_of(node.func, bound):
                yield called(node, path, f"{file}:{node.lineno}")
        elif isinstance(node, ast.ClassDef):
            bases = [path for base in node.bases for path in paths_of(base, bound)]
            yield from of_class(node, bases, file)


def imports_of(node: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Name that is bound, its dotted path, and the path that is imported."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.split(".")[0] in LIBRARIES:
                bound = alias.asname or alias.name.split(".")[0]
                yield bound, alias.name if alias.asname else bound, alias.name
    elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in LIBRARIES:
        for alias in node.names:
            path = f"{node.module}.{alias.name}"
            yield alias.asname or alias.name, path, path


def paths_of(node: ast.AST, bound: dict[str, set[str]]) -> list[str]:
    """Dotted paths of an expression such as ``Config.fromfile``; none for other expressions."""
    if isinstance(node, ast.Name):
        return sorted(bound.get(node.id, ()))
    if isinstance(node, ast.Attribute):
        return [f"{path}.{node.attr}" for path in paths_of(node.value, bound)]
    return []


def called(node: ast.Call, path: str, place: str, more: int = 0) -> Use:
    """A call; ``more`` arguments by position are not in the source, as ``self``."""
    given = [arg for arg in node.args if not isinstance(arg, ast.Starred)]
    named = tuple(keyword.arg for keyword in node.keywords if keyword.arg)
    whole = len(given) == len(node.args) and len(named) == len(node.keywords)
    return Use(place, path, len(given) + more, named, whole)


def of_class(node: ast.ClassDef, bases: list[str], file: str) -> Iterator[Use]:
    """Calls by ``super()`` of a class with bases of the libraries.

    With two such bases the first that has the method is meant.
    """
    for child in ast.walk(node):
        if not (isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute)):
            continue
        value = child.func.value
        if bases and isinstance(value, ast.Call) and ast.unparse(value.func) == "super":
            owner = next((base for base in bases if has(base, child.func.attr)), bases[0])
            path = f"{owner}.{child.func.attr}"
            yield called(child, path, f"{file}:{child.lineno}", more=1)


def overrides_of(folder: Path) -> Iterator[tuple[str, str, ast.arguments]]:
    """Place, path of the overridden method, and our arguments of every overriding method."""
    for file in sorted(folder.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        bound: dict[str, set[str]] = defaultdict(set)
        for node in ast.walk(tree):
            for name, path, _ in imports_of(node):
                bound[name].add(path)
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            for base in (path for one in node.bases for path in paths_of(one, bound)):
                for method in node.body:
                    own = isinstance(method, ast.FunctionDef) and not method.decorator_list
                    if own and method.name != "__init__" and has(base, method.name):
                        place = f"{file.relative_to(folder.parent)}:{method.lineno}"
                        yield place, f"{base}.{method.name}", method.args


def resolve(path: str) -> Any:
    """The object of a dotted path.

    Raises:
        AttributeError: If a part of it does not exist.
        ImportError: If the first part cannot be imported.
    """
    parts = path.split(".")
    found = importlib.import_module(parts[0])
    for end, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part) and inspect.ismodule(found):
            try:
                importlib.import_module(".".join(parts[:end]))
            except ModuleNotFoundError as error:
                raise AttributeError(f"{'.'.join(parts[:end])} does not exist") from error
        found = getattr(found, part)
    return found


def has(path: str, name: str) -> bool:
    """Whether the object of a path exists, and has this attribute."""
    try:
        return hasattr(resolve(path), name)
    except (AttributeError, ImportError):
        return False


def trouble(use: Use) -> str:
    """Why a use no longer works, or an empty text."""
    try:
        found = resolve(use.path)
        if use.positional is not None and not inspect.isbuiltin(found):
            signature = inspect.signature(found)
            bind = signature.bind if use.whole else signature.bind_partial
            bind(*[None] * use.positional, **dict.fromkeys(use.named))
    except (AttributeError, ImportError, TypeError) as error:
        return f"{use.place}: {use.path}: {error}"
    return ""


def lost_arguments(path: str, ours: ast.arguments) -> list[str]:
    """Arguments that callers of a method may give by name, and our override does not take."""
    if ours.kwarg:
        return []
    own = {arg.arg for arg in (*ours.posonlyargs, *ours.args, *ours.kwonlyargs)}
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    method = resolve(path)
    if not inspect.isfunction(method):
        return []
    wanted = [p.name for p in inspect.signature(method).parameters.values() if p.kind in kinds]
    return [name for name in wanted if name not in own]
