"""Walking a config: its datasets, its evaluators, every dict in it, every value with its key."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict

SPLITS = ("train", "val", "test")


def walk(node: Any) -> Iterator[ConfigDict]:
    """Yields every dict inside a config node, outermost first."""
    if isinstance(node, dict):
        yield node
        for value in list(node.values()):
            yield from walk(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from walk(value)


def entries(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every value inside a node that is no dict, list or tuple, with its dotted key.

    An empty dict, list or tuple counts as a value.
    """
    if isinstance(node, dict) and node:
        pairs = node.items()
    elif isinstance(node, list | tuple) and node:
        pairs = enumerate(node)
    else:
        yield key, node
        return
    for name, value in pairs:
        yield from entries(value, f"{key}.{name}" if key else str(name))


def datasets(cfg: Config, split: str) -> list[ConfigDict]:
    """The dataset dicts of a split that name a ``data_root``; wrappers are looked into."""
    loader = cfg.get(f"{split}_dataloader") or {}
    return [node for node in walk(loader.get("dataset", {})) if "data_root" in node]


def evaluators(cfg: Config, split: str) -> list[ConfigDict]:
    """The evaluator dicts of a split, as a list whether the config names one or several."""
    named = cfg.get(f"{split}_evaluator") or []
    return named if isinstance(named, list) else [named]
