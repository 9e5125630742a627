"""Parts of a dataset: how tools name training, validation and test data."""

from collections.abc import Callable, Iterable
from pathlib import Path

from convnext_dense.data.formats.names import SPLITS
from convnext_dense.errors import UserError

NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


class NoSplit(UserError):
    """The data are divided into splits, and the one that is asked for is not among them.

    Attributes:
        own_splits: Those that there are.
    """

    def __init__(self, path: Path, split: str, own_splits: tuple[str, ...], where: str) -> None:
        self.own_splits = own_splits
        super().__init__(
            f"{path} has no {split} split: looked for {where}, found {', '.join(own_splits)}."
        )


def split_of(name: str) -> str | None:
    """The split that a folder or an entry of this name means; None for any other."""
    return next((split for split in SPLITS if name.strip().lower() in NAMES[split]), None)


def split_folders(path: Path, holds: Callable[[Path], bool]) -> dict[str, Path]:
    """Sub-folders that are named as splits, those that hold data: ``{split: folder}``."""
    if not path.is_dir():
        return {}
    named = {split_of(inside.name): inside for inside in sorted(path.iterdir()) if inside.is_dir()}
    return {split: named[split] for split in SPLITS if split in named and holds(named[split])}


def choose(path: Path, split: str, own: Iterable[str], where: str) -> None:
    """Raises where data that are divided into splits lack one.

    Raises:
        NoSplit: Names those that there are.
    """
    own = tuple(own)
    if own and split not in own:
        raise NoSplit(path, split, own, where)
