"""Running a chain of commands: checks requirements first, and skips finished steps."""

import contextlib
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence

import torch

from convnext_dense.data.fit import load_fitted_config
from convnext_dense.errors import UserError
from convnext_dense.paper.reproduce.chain import ReproduceSettings, Step

# First word of a command -> the program, with the current Python.
PROGRAMS = {
    "python": (sys.executable,),
    "torchrun": (sys.executable, "-m", "torch.distributed.run"),
}


def format_steps(steps: Sequence[Step]) -> str:
    """The commands as shell lines with titles as comments; finished steps have a title only."""
    lines = []
    for i, step in enumerate(steps, 1):
        state = " (finished)" if step.is_done else ""
        lines.append(f"# {i} of {len(steps)}: {step.name}{state}")
        if not step.is_done:
            lines.append(shlex.join(step.command))
    return "\n".join(lines)


def check_requirements(steps: Sequence[Step], settings: ReproduceSettings) -> None:
    """Checks that the GPUs and the data of all unfinished steps exist.

    Raises:
        UserError: With a list of all missing requirements.
    """
    waiting = [step for step in steps if not step.is_done]
    missing = []
    if waiting and settings.gpus > torch.cuda.device_count():
        missing.append(
            f"{settings.gpus} GPUs, of which torch finds {torch.cuda.device_count()} (set "
            "--gpus N; --gpus 0 uses the default device)"
        )
    for config, splits in dict.fromkeys((s.config, s.splits) for s in waiting if s.config):
        try:
            with contextlib.redirect_stdout(sys.stderr):
                load_fitted_config(config, data_root=settings.data_root, splits=splits)
        except UserError as error:
            missing.append(str(error).rstrip("."))
    folders = dict.fromkeys(s.data for s in waiting if s.data and not s.data.is_dir())
    missing += [f"the folder {folder}" for folder in folders]
    if missing:
        raise UserError(f"Nothing was started, since this is missing: {'; '.join(missing)}.")


def run_steps(steps: Sequence[Step], report: Callable[[str], None]) -> None:
    """Runs the unfinished steps in order.

    Args:
        steps: The steps of the chain.
        report: Called with a line of text before each step.

    Raises:
        UserError: If a command fails, or ends without its outputs.
    """
    for i, step in enumerate(steps, 1):
        title = f"{i} of {len(steps)}: {step.name}"
        if step.is_done:
            report(f"{title}: finished, {step.output}")
            continue
        report(f"{title}: {shlex.join(step.command)}")
        program, *arguments = step.command
        code = subprocess.run([*PROGRAMS[program], *arguments]).returncode
        if code or not step.is_done:
            ended = f"ended with code {code}" if code else f"ended without {step.output}"
            raise UserError(
                f"Step {title} {ended}: see its output above. The same command continues from "
                "there."
            )
