"""Running a command: one sentence and an exit code instead of a traceback."""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import torch

from convnext_dense.atomic_files import explaining_full_disks
from convnext_dense.cli.shared.parser import Parser
from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.errors import RunEndedError, UserError
from convnext_dense.runs.console import showing
from convnext_dense.runs.noise import filter_warnings
from convnext_dense.runs.signals import Interrupted, handling_signals, ignore_signals

BUG = (
    "This looks like a bug of convnext_dense, not of your input. Please report it to the project "
    "with all lines from 'Traceback' on, the command, and env.json of the work folder if there is "
    "one."
)
# Packages that a part of the toolkit needs -> the extra of setup.py that brings them.
EXTRAS = {
    "mmcv": "all",
    "mmdet": "detection",
    "pycocotools": "detection",
    "faster_coco_eval": "detection",
    "mmseg": "segmentation",
    "matplotlib": "all",
    "jinja2": "all",
    "tensorboard": "all",
}
NO_MEMORY = (
    "This needs more memory than there is: make the batch smaller (--cfg-options "
    "train_dataloader.batch_size=N), or the images."
)


def run_command(main: Callable[[], None]) -> None:
    """Runs a command; an early end is one sentence and an exit code.

    2 for wrong input, 143 for a request to end where a training goes on with ``--resume``, 130
    for Ctrl-C in a tool that keeps nothing, others as the error has them. Any other exception is
    a bug: its traceback is the report, and the last line says so (code 1).
    """
    filter_warnings()
    room = "Make room and start again."
    try:
        with (
            handling_signals(),
            explaining_full_disks("A file", room),
            safe_reading(),
            showing(everything=Parser.debugging),
        ):
            main()
            sys.stdout.flush()
    except UserError as error:
        if Parser.debugging:
            traceback.print_exc()
        print(f"error: {sentence(error)}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in EXTRAS:
            _report_bug(error)
        print(
            f"error: This needs {package}, which is not installed: run pip install "
            f"'convnext_dense[{EXTRAS[package]}]'.",
            file=sys.stderr,
        )
        sys.exit(2)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        with contextlib.suppress(OSError):  # else Python flushes into the pipe at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except RunEndedError as error:
        if str(error):  # of several processes the first one speaks
            print(f"error: {error}", file=sys.stderr)
        sys.exit(error.code)
    except Interrupted as error:
        ignore_signals()
        if str(error):
            print(error, file=sys.stderr)
        sys.exit(error.code)
    except Exception as error:
        _report_bug(error)
    finally:
        Parser.debugging = False


def _report_bug(error: Exception) -> NoReturn:
    traceback.print_exc()
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    print(NO_MEMORY if memory else BUG, file=sys.stderr)
    sys.exit(1)


def sentence(error: UserError) -> str:
    """The error's own words, also where a data loader's process wrapped them in a traceback."""
    text = str(error)
    if "Original Traceback" in text:
        text = text.rsplit("UserError: ", 1)[-1].rsplit("MissingDataError: ", 1)[-1]
    return " ".join(text.split())
