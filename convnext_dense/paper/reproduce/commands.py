"""Running a chain of commands: what it needs is checked first, what is finished is left out."""

import contextlib
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence

import torch

from convnext_dense.data.fit import load_fitted_config
from convnext_dense.errors import UserError
from convnext_dense.paper.reproduce.chain import Place, Step

# How a command's first word is started by the Python that runs this.
PROGRAMS = {
    "python": (sys.executable,),
    "torchrun": (sys.executable, "-m", "torch.distributed.run"),
}


def format_steps(steps: Sequence[Step]) -> str:
    """The commands, a line each below what it is; of finished steps the comment alone."""
    lines = []
    for i, step in enumerate(steps, 1):
        state = " (finished)" if step.is_done else ""
        lines.append(f"# {i} of {len(steps)}: {step.name}{state}")
        if not step.is_done:
            lines.append(shlex.join(step.command))
    return "\n".join(lines)


def check(steps: Sequence[Step], place: Place) -> None:
    """Looks for the devices and the data of all steps that are not finished.

    Raises:
        UserError: With all that is missing, before anything runs.
    """
    waiting = [step for step in steps if not step.is_done]
    missing = []
    if waiting and place.gpus > torch.cuda.device_count():
        missing.append(
            f"{place.gpus} GPUs, of which torch finds {torch.cuda.device_count()} (--gpus N takes "
            "N, --gpus 0 what there is)"
        )
    for config, splits in dict.fromkeys((s.config, s.splits) for s in waiting if s.config):
        try:
            with contextlib.redirect_stdout(sys.stderr):
                load_fitted_config(config, data_root=place.data_root, splits=splits)
        except UserError as error:
            missing.append(str(error).rstrip("."))
    folders = dict.fromkeys(s.data for s in waiting if s.data and not s.data.is_dir())
    missing += [f"the folder {folder}" for folder in folders]
    if missing:
        raise UserError(f"Nothing was started, since this is missing: {'; '.join(missing)}.")


def run(steps: Sequence[Step], report: Callable[[str], None]) -> None:
    """Runs the steps that are not finished, one after the other.

    Args:
        steps: The chain.
        report: Takes a line before each step.

    Raises:
        UserError: When a command fails, or ends without its outputs.
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
                f"Step {title} {ended}: see above why; the same command again goes on from there."
            )
