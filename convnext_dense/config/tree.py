"""Walking a config: its datasets, its evaluators, every dict in it."""

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


def datasets(cfg: Config, split: str) -> list[ConfigDict]:
    """The dataset dicts of a split that name a ``data_root`` (wrappers are looked into)."""
    loader = cfg.get(f"{split}_dataloader") or {}
    return [node for node in walk(loader.get("dataset", {})) if "data_root" in node]


def evaluators(cfg: Config, split: str) -> list[ConfigDict]:
    """The evaluator dicts of a split, as a list whether the config names one or several."""
    found = cfg.get(f"{split}_evaluator") or []
    return found if isinstance(found, list) else [found]
