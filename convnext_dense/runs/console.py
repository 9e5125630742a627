"""The console of a run: what a person needs. The log file has every line.

A record of the log is one text for the file and, as a :class:`LogText`, another one for the
console. Warnings and errors are always shown, but for those that :mod:`convnext_dense.runs.noise`
names.
"""

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mmengine.logging import MMLogger
from rich.console import Console
from rich.text import Text

from convnext_dense.runs.noise import is_noise
from convnext_dense.tasks import OF_AVERAGE
from convnext_dense.text_table import format_columns

LEVELS = {
    logging.WARNING: ("warning: ", "yellow"),
    logging.ERROR: ("error: ", "bold red"),
    logging.CRITICAL: ("error: ", "bold red"),
}
ROWS = 20  # a longer table has its first line on the console only
QUIET_SECONDS = 30.0  # between two lines about an evaluation that goes on


class LogText(str):
    """The log file's text of a record, with what the console shows in its place.

    Attributes:
        short: The console's text; None where the record is for the file alone.
        in_bar: A live bar shows the same, so that the line is left out where there is one.
    """

    short: Text | str | None
    in_bar: bool

    def __new__(cls, full: str, short: Text | str | None = None, in_bar: bool = False) -> "LogText":
        text = super().__new__(cls, full)
        text.short, text.in_bar = short, in_bar
        return text


class LineConsole(Console):
    """A console that neither wraps lines nor ends the run when its reader is gone.

    Colours and escape codes are for terminals; NO_COLOR and FORCE_COLOR are respected.
    """

    def __init__(self, **options) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, soft_wrap=True, **options)

    def on_broken_pipe(self) -> None:
        """Goes on in silence, where rich would end the process."""
        self.quiet = True

    @property
    def is_live(self) -> bool:
        """Whether a bar can move here, whatever FORCE_COLOR says."""
        is_terminal = getattr(self.file, "isatty", lambda: False)()
        return is_terminal and not self.is_dumb_terminal


class ConsoleHandler(logging.Handler):
    """Writes records to the console: short, without date, level and logger's name.

    Attributes:
        everything: Where it is set (``--debug``), loggers keep mmengine's handler.
        has_bar: A live bar is shown.
    """

    everything = False

    def __init__(self, level: int = logging.INFO) -> None:
        super().__init__(level)
        self.console = LineConsole()
        self.has_bar = False

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a record, if it is for the console."""
        try:
            text = self._text(record)
            if text is not None:
                self.console.print(text)
        except Exception:
            self.handleError(record)

    def _text(self, record: logging.LogRecord) -> Text | None:
        message = record.msg
        if isinstance(message, LogText):
            in_bar = message.in_bar and self.has_bar
            return None if in_bar or message.short is None else _as_text(message.short)
        message = self.format(record)
        if is_noise(message):
            return None
        return Text.assemble(LEVELS.get(record.levelno, ""), message)


def _as_text(text: Text | str) -> Text:
    return text if isinstance(text, Text) else Text(text)


def use_console(logger: logging.Logger) -> None:
    """Puts a :class:`ConsoleHandler` into the place of a logger's handler for the terminal.

    It keeps its level, which silences all processes but the first one below errors, and filters.
    """
    if ConsoleHandler.everything:
        return
    for number, old in enumerate(logger.handlers):
        if type(old) is logging.StreamHandler and old.stream in (sys.stdout, sys.__stdout__):
            new = ConsoleHandler(old.level)
            new.filters.extend(old.filters)
            logger.handlers[number] = new


def console_of(logger: logging.Logger) -> ConsoleHandler | None:
    """The logger's handler for the console; None with ``--debug``."""
    return next((one for one in logger.handlers if isinstance(one, ConsoleHandler)), None)


@contextmanager
def showing(everything: bool) -> Iterator[None]:
    """Loggers show everything on the console, or what a person needs: mmengine's and new ones."""
    before, ConsoleHandler.everything = ConsoleHandler.everything, everything
    use_console(MMLogger.get_current_instance())
    try:
        yield
    finally:
        ConsoleHandler.everything = before


def say(*lines: Text | str) -> None:
    """Prints lines to stdout, coloured where it is a terminal."""
    console = LineConsole()
    for line in lines:
        console.print(_as_text(line))


def format_rows(title: str, rows: list[tuple[str, str]], indent: str = "  ") -> Text:
    """A title and named lines below it, the names aligned; names are dim on a terminal."""
    width = max((len(name) for name, _ in rows), default=0)
    text = Text.assemble((title, "bold"))
    for name, line in rows:
        text.append(f"\n{indent}")
        text.append(f"{name:{width}}", style="cyan")
        text.append(f"  {line}")
    return text


def format_step(
    tag: Mapping[str, float], done: int, total: int, epoch: int | None, eta: str
) -> str:
    """A line of a training: the names are those of the log file.

    Args:
        tag: The scalars of the step, as they are logged.
        done, total: Iterations.
        epoch: The epoch, where the run counts them.
        eta: The time left; empty where it is not known.
    """
    # Scripts wait for the beginning, which is mmengine's.
    where = "Iter(train)  " if epoch is None else f"Epoch(train) {epoch}  "
    parts = [f"{where}{done:>{len(str(total))}}/{total}"]
    same_rate = tag.get("min_lr") == tag.get("max_lr")
    for name, pattern in (
        ("loss", ".4g"),
        ("min_lr", ".2e"),
        ("max_lr", ".2e"),
        ("grad_norm", ".3g"),
        ("time", ".3g"),
        ("memory", ".0f"),
    ):
        if name in tag and not (name == "min_lr" and same_rate):
            parts.append(f"{name}: {tag[name]:{pattern}}")
    return "  ".join([*parts, f"eta: {eta}"] if eta else parts)


def format_figures(figures: Mapping[str, float]) -> list[str]:
    """The figures of an evaluation: lines, or a table where names share their beginnings.

    Args:
        figures: By name; the evaluator's prefix (``coco/``) is left out. ``bbox_mAP_50`` is in the
            row ``bbox`` and the column ``mAP_50``, and the averaged weights' ``bbox_mAP_50_ema`` in
            the row ``bbox_ema``. What fits into no column of the first row, such as counts, is in
            lines below.
    """
    named = {name.rpartition("/")[2]: _format_figure(value) for name, value in figures.items()}
    table: dict[str, dict[str, str]] = {}
    for name, text in named.items():
        row, column = _cell(name)
        table.setdefault(row, {})[column] = text
    shared = next(iter(table.values()), {}).keys()
    table = {name: row for name, row in table.items() if shared & row.keys()}
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    if columns == [""]:
        return _lines(named)
    rows = [(name, *(row.get(column, "") for column in columns)) for name, row in table.items()]
    apart = {name: text for name, text in named.items() if _cell(name)[0] not in table}
    return [*format_columns([("", *columns), *rows], ["<", *[">"] * len(columns)]), *_lines(apart)]


def _cell(name: str) -> tuple[str, str]:
    """The row and the column of a figure."""
    plain = name.removesuffix(OF_AVERAGE)
    row, _, column = plain.partition("_")
    return f"{row}{name.removeprefix(plain)}", column


def _lines(named: Mapping[str, str]) -> list[str]:
    """Figures beside each other, those of the averaged weights in a line of their own."""
    lines: dict[bool, list[str]] = {}
    for name, text in named.items():
        lines.setdefault(name.endswith(OF_AVERAGE), []).append(f"{name} {text}")
    return ["  ".join(line) for line in lines.values()]


def _format_figure(value: float) -> str:
    if value > 1 and float(value).is_integer():  # a count
        return f"{value:,.0f}"
    return f"{value:.3f}" if value == value and value != -1 else "-"


def short_table(text: str) -> LogText:
    """A table with a row for each class: of many classes the console has the title alone."""
    title, *rows = text.splitlines()
    if len(rows) <= ROWS:
        return LogText(text, short=text)
    return LogText(text, short=f"{title}: {len(rows):,} lines in the log and in metrics.json")


class Pause:
    """The time between two lines about the same."""

    def __init__(self, seconds: float = QUIET_SECONDS) -> None:
        self.seconds = seconds
        self.begin()

    def begin(self) -> None:
        """Begins it anew."""
        self.last = time.monotonic()

    def over(self) -> bool:
        """Whether it is over; it begins again then."""
        if time.monotonic() - self.last < self.seconds:
            return False
        self.begin()
        return True
