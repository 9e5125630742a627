"""What a tool shows of a refusal and of a bug, with and without --debug."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from convnext_dense.cli.shared.parser import Parser
from convnext_dense.cli.shared.run_command import run_command, sentence
from convnext_dense.errors import UserError

TOOLS = Path(__file__).parents[2] / "tools"


def ended(monkeypatch, capsys, main, *arguments) -> tuple[int, str]:
    """Exit code and stderr of a tool."""
    monkeypatch.setattr(sys, "argv", ["tool", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        run_command(main)
    return caught.value.code, capsys.readouterr().err


def raising(error: Exception):
    def main() -> None:
        Parser().parse_args()
        raise error from KeyError("deeper")

    return main


# The doctor imports nothing that may be broken, and refuses nothing.
DOORS = sorted(path for path in TOOLS.glob("*.py") if path.stem != "doctor")


@pytest.mark.parametrize("tool", DOORS, ids=lambda path: path.stem)
def test_every_tool_has_the_flag(tool, monkeypatch, capsys):
    commands = ["complexity", "roadmap", "tables", "reproduce"] if tool.stem == "paper" else []
    for command in [None, *commands]:
        monkeypatch.setattr(sys, "argv", ["tool", *([command] if command else []), "--help"])
        with pytest.raises(SystemExit):
            runpy.run_path(str(tool), run_name="__main__")
        assert "--debug" in capsys.readouterr().out


def test_a_refusal_is_one_sentence(monkeypatch, capsys):
    main = raising(UserError("The file a.png is empty."))
    assert ended(monkeypatch, capsys, main) == (2, "error: The file a.png is empty.\n")
    code, shown = ended(monkeypatch, capsys, main, "--debug")
    assert code == 2 and shown.endswith("\nerror: The file a.png is empty.\n")
    assert "Traceback" in shown and "KeyError: 'deeper'" in shown and __file__ in shown
    assert ended(monkeypatch, capsys, main)[1].count("\n") == 1  # the flag was the last call's


def test_a_reader_that_has_seen_enough_is_no_bug(monkeypatch, capsys):
    assert ended(monkeypatch, capsys, raising(BrokenPipeError(32, "Broken pipe"))) == (0, "")


def test_a_flag_before_a_sub_command_holds():
    parser = Parser()
    parser.add_subparsers().add_parser("count")
    Parser.debugging = False
    parser.parse_args(["--debug", "count"])
    assert Parser.debugging
    Parser.debugging = False


def test_a_bug_shows_its_traceback_and_where_to_report_it(monkeypatch, capsys):
    code, shown = ended(monkeypatch, capsys, raising(ZeroDivisionError("division by zero")))
    *lines, last = shown.splitlines()
    assert code == 1 and lines[-1] == "ZeroDivisionError: division by zero"
    assert "Please report it" in last and "env.json" in last
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")):
        code, shown = ended(monkeypatch, capsys, raising(error))
        assert code == 1 and "make the batch smaller" in shown.splitlines()[-1]


class Broken(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int):
        try:
            raise KeyError("deeper")
        except KeyError as error:
            raise UserError("a.png: has two\nlines, UserErrors and : colons.") from error


def test_a_worker_process_tells_the_sentence():
    with pytest.raises(UserError) as caught:
        next(iter(DataLoader(Broken(), num_workers=1)))
    assert "Traceback" in str(caught.value)
    assert sentence(caught.value) == "a.png: has two lines, UserErrors and : colons."
