"""Lists the shipped configs, or copies one with its bases."""

import argparse
import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

from convnext_dense.cli.shared.invocation import command_line
from convnext_dense.config.names import find_shipped, shipped_configs
from convnext_dense.config.reading import read_config
from convnext_dense.config.shipped import CONFIGS
from convnext_dense.errors import UserError
from convnext_dense.paper.tables.figures import paper_figures
from convnext_dense.text_table import format_columns
from convnext_dense.weights.zoo import OFFICIAL_FILES

COLUMNS = ("name", "task", "pretraining", "paper", "official_file")
FROM_SCRATCH = "none"
PRETRAINING = ("classification", "self_supervised")  # tasks that the command pretrain trains
PRETRAINED = re.compile(r'init_cfg=(?:None|dict\(\s*type="Pretrained",\s*checkpoint="([^"]+)")')


def run(args: argparse.Namespace) -> None:
    """The command."""
    if args.copy:
        if not args.name:
            raise UserError("--copy needs the NAME of a config.")
        path = copy_with_bases(find_shipped(args.name), Path(args.copy))
        command = "pretrain" if {*PRETRAINING} & {*path.parts} else "train"
        print(f"{path}\nedit it, then: {command_line(command, path)}")
        return
    configs = shipped_configs()
    if args.name:
        configs = {args.name: find_shipped(args.name)}
    rows = [describe(name, path) for name, path in configs.items()]
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    lines = [[row[column] or "-" for column in COLUMNS] for row in rows]
    header = [column.replace("_", " ") for column in COLUMNS]
    print("\n".join(format_columns([header, *lines], "<" * len(COLUMNS))))


def describe(name: str, path: Path) -> dict[str, Any]:
    """A config's row: its task, what its backbone is pretrained on, the paper's figures."""
    found = paper_figures(path)
    figures = found.figures if found else {}
    return dict(
        name=name,
        task=task_of_path(path),
        pretraining=pretraining(path),
        paper=", ".join(f"{value} {key}" for key, value in figures.items()) or None,
        figures=figures,
        official_file=OFFICIAL_FILES.get(name),
        path=str(path),
    )


def pretraining(config: Path) -> str:
    """The file that a config's backbone starts from; ``none`` where it starts from scratch."""
    for path in (config, *bases_of(config)):  # a config wins over its bases
        if start := PRETRAINED.search(path.read_text(encoding="utf-8")):
            return start[1] or FROM_SCRATCH
    if task_of_path(config) in PRETRAINING:
        return FROM_SCRATCH
    # Peers put their address together: only executing the config says it.
    start = (read_config(config).model.get("backbone") or {}).get("init_cfg") or {}
    return str(start.get("checkpoint") or FROM_SCRATCH).rpartition("/")[2]


def task_of_path(config: Path) -> str:
    """The folder of a shipped config names its task."""
    return config.relative_to(CONFIGS).parts[0]


def copy_with_bases(config: Path, folder: Path) -> Path:
    """Copies a shipped config and all its bases, which keep their places relative to it.

    Returns:
        The copy of the config.

    Raises:
        UserError: When a file is there already, or the folder cannot be written.
    """
    files = [config, *bases_of(config)]
    targets = {path: folder / path.relative_to(CONFIGS) for path in files}
    if existing := [target for target in targets.values() if target.exists()]:
        raise UserError(f"{existing[0]} exists already: name another folder, or remove it.")
    try:
        for source, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error}") from error
    return targets[config]


def bases_of(config: Path) -> list[Path]:
    """All files that a config is based on, each once."""
    found: list[Path] = []
    for node in ast.parse(config.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_base_":
            bases = ast.literal_eval(node.value)
            for base in [bases] if isinstance(bases, str) else bases:
                path = (config.parent / base).resolve()
                found += [path, *bases_of(path)]
    return list(dict.fromkeys(found))
