"""The command ``convnext-dense``, and the doors of ``tools/``: they parse first, then import torch.

Every command has a module of its flags in :mod:`convnext_dense.cli.flags`, which is light, and the
module that does the work, with a function ``run(args)``, which is imported once the flags are read.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from inspect import getdoc

from convnext_dense.cli.shared import invocation
from convnext_dense.cli.shared.parser import Parser
from convnext_dense.cli.shared.threads import wait_without_spinning
from convnext_dense.version import __version__


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        flags: Its module in ``cli.flags``, whose docstring describes the command.
        tool: Its script in ``tools/``; None where there is none.
        work: The module with its ``run``; by default the one of the same name in ``cli``.
    """

    flags: str
    tool: str | None = None
    work: str | None = None

    def load_flags(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's flags to a parser."""
        import_module(f"convnext_dense.cli.flags.{self.flags}").add_flags(parser)

    @property
    def description(self) -> str:
        """What the command does; its first line is short."""
        return getdoc(import_module(f"convnext_dense.cli.flags.{self.flags}")) or ""

    def run(self, args: argparse.Namespace) -> None:
        """Does the work; everything heavy is imported here."""
        from convnext_dense.cli.shared.settle_arguments import settle_arguments

        settle_arguments(args)
        import_module(self.work or f"convnext_dense.cli.{self.flags}").run(args)


DOCTOR = "doctor"
COMMANDS = {
    "train": Command("train", "train"),
    "test": Command("test", "test"),
    "predict": Command("predict", "predict"),
    "pretrain": Command("pretrain", "pretrain_cls"),
    "eval": Command("eval", "eval_cls"),
    "browse": Command("browse", "browse_data"),
    "configs": Command("configs"),
    "print-config": Command("print_config", "print_config"),
    "print-lr": Command("print_lr", "print_lr"),
    "convert": Command("conversion.weights", "convert_weights"),
    "data": Command("conversion.data", "convert_data"),
    "report": Command("report", "report"),
    "push": Command("push"),
    "export": Command("export"),
    "tables": Command("paper.tables", work="convnext_dense.cli.paper"),
    "paper": Command("paper.paper", "paper", work="convnext_dense.cli.paper"),
    "benchmark": Command("benchmark", "benchmark"),
    DOCTOR: Command(DOCTOR, DOCTOR, work="convnext_dense.preflight.doctor"),
}


def main(words: list[str] | None = None) -> None:
    """The command ``convnext-dense``: one of :data:`COMMANDS` with its flags."""
    parser = make_parser()
    _complete(parser)
    args = parser.parse_args(words)
    invocation.set_command()
    _open(COMMANDS[args.command], args)


def open_tool(tool: str) -> None:
    """The door of ``tools/TOOL.py``."""
    command, args = parse_tool(tool)
    invocation.set_tool(sys.argv[0])
    _open(command, args)


def parse_tool(tool: str, words: list[str] | None = None) -> tuple[Command, argparse.Namespace]:
    """The command of ``tools/TOOL.py``, and its arguments; by default those of this process."""
    command = next(command for command in COMMANDS.values() if command.tool == tool)
    parser = Parser(description=command.description)
    command.load_flags(parser)
    _complete(parser)
    return command, parser.parse_args(words)


def make_parser() -> Parser:
    """The parser of ``convnext-dense``, with a sub-parser for each command."""
    parser = Parser(prog="convnext-dense", description="Dense prediction with ConvNeXt.")
    parser.add_argument("--version", action="version", version=f"convnext_dense {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        text = command.description
        command.load_flags(
            commands.add_parser(name, description=text, help=text.partition("\n")[0].rstrip("."))
        )
    return parser


def _open(command: Command, args: argparse.Namespace) -> None:
    """Runs a command whose flags are read; ends the process where it refuses its input."""
    try:
        if command is COMMANDS[DOCTOR]:  # what it looks at may be broken
            sys.exit(import_module(command.work).run(args))
        wait_without_spinning()
        run_command = _import_run_command()
    except KeyboardInterrupt:
        print("Interrupted (Ctrl-C).", file=sys.stderr)
        sys.exit(130)
    run_command(partial(command.run, args))


def _import_run_command() -> Callable[[Callable[[], None]], None]:
    try:
        from convnext_dense.cli.shared.run_command import run_command
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("convnext_dense"):
            raise
        print(
            f"error: This needs {error.name}, which is not installed: run pip install "
            "'convnext_dense[all]'; convnext-dense doctor shows what else is missing.",
            file=sys.stderr,
        )
        sys.exit(2)
    return run_command


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answers the shell's completion, where argcomplete is installed."""
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(parser)
