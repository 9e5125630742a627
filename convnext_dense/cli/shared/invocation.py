"""How the user calls our commands, so that the commands we print work as they are."""

import os
import shlex
from pathlib import Path

_folder: Path | None = None  # of the scripts, where one of them was called


def set_command() -> None:
    """Commands are called as ``convnext-dense COMMAND``."""
    global _folder
    _folder = None


def set_tool(script: str) -> None:
    """Commands are called as ``python FOLDER/TOOL.py``, like this script."""
    global _folder
    _folder = Path(os.path.relpath(Path(script).resolve().parent))


def command_line(command: str, *words: object) -> str:
    """A command as the user would type it, quoted for a shell.

    Args:
        command: Its name in ``convnext-dense COMMAND``.
        words: Its arguments.
    """
    from convnext_dense.cli.main import COMMANDS  # at call time: main imports this module

    tool = COMMANDS[command].tool
    if _folder is not None and tool is not None:
        start = ["python", str(_folder / f"{tool}.py")]
    else:
        start = ["convnext-dense", command]
    return shlex.join([*start, *map(str, words)])
