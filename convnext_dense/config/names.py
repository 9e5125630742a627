"""From what a user types to a config file: a path, the name of a shipped config, a work folder."""

import difflib
from contextlib import suppress
from pathlib import Path

from convnext_dense.config.shipped import CONFIGS
from convnext_dense.errors import UserError

PLAIN = "config.yaml"  # of a folder that was made to be shared
EXPORTED = "config.json"  # of a folder that ``convnext-dense export`` wrote
NEAREST = 3
# Their folders.
TASKS = ("detection", "segmentation", "panoptic", "classification", "self_supervised")


def shipped_configs() -> dict[str, Path]:
    """All configs that come with this package and can be trained: name -> file, task by task."""
    files = [path for task in TASKS for path in sorted((CONFIGS / task).rglob("*.py"))]
    return {path.stem: path for path in files if "_base_" not in path.relative_to(CONFIGS).parts}


def find_config(source: str | Path) -> Path:
    """The config file that is meant.

    Args:
        source: A path, the name of a shipped config such as ``cascade_convnext_t_3x``, the work
            folder of a run, or the folder of an exported model. A file that exists wins over a
            name.

    Raises:
        UserError: When there is none; it names the nearest shipped ones.
    """
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        return _config_of_run(path)
    return find_shipped(_shipped_name(path), source)


def find_shipped(name: str, source: str | Path | None = None) -> Path:
    """The shipped config of this name; ``source`` is what the user has typed for it.

    Raises:
        UserError: When there is none; it names the nearest ones.
    """
    shipped = shipped_configs()
    if name in shipped:
        return shipped[name]
    near = difflib.get_close_matches(name, shipped, n=NEAREST, cutoff=0)
    raise UserError(
        f"There is no config file {source or name}, and no config of this name comes with "
        f"convnext_dense; the nearest are {', '.join(near)}. All of them: convnext-dense configs."
    )


def _shipped_name(path: Path) -> str:
    """The name of a shipped config that a path may mean: bare, or as it lies in a clone."""
    parts = path.parts
    bare = len(parts) == 1 or parts[0] == CONFIGS.name
    return path.stem if bare and path.suffix in (".py", "") else path.name


def _config_of_run(folder: Path) -> Path:
    """The newest resolved config in a work folder: of its training, else of its test.

    Raises:
        UserError: When there is none that can be read.
    """
    from convnext_dense.config.plain import read_plain  # imports mmengine; names alone do without

    configs = {}
    for path in sorted(folder.glob("*.py"), key=lambda path: path.stat().st_mtime, reverse=True):
        with suppress(OSError, SyntaxError, ValueError):
            configs[path] = read_plain(path.read_text(encoding="utf-8"))
    for entry in ("train_dataloader", "model"):
        for path, config in configs.items():
            if entry in config:
                return path
    for name in (PLAIN, EXPORTED):
        if (plain := folder / name).is_file():
            return plain
    raise UserError(f"{folder} holds no config of a run: name the config file itself.")
