"""A process that runs parts of gpu.py one after another, and reports each as a line of JSON.

    python benchmarks/worker.py '{"names": [...], "device": "cuda", ...}'

The task comes from processes.py. The start of a part is reported too, so that the parent knows
which part ended the process. After an error that persists on the device (an illegal address) the
process ends: the remaining parts need a new one.
"""

import json
import os
import sys
import time
import traceback
import warnings

import torch
from detector import import_mmpretrain
from gpu_checks import CHECKS, NotRun
from speed import LINES, measure

from convnext_dense.kernels import failures

# Optional packages: parts that need a missing one are reported as not run.
OPTIONAL = ("mmcv", "mmdet", "mmseg", "pycocotools", "triton")


def main() -> None:
    task = json.loads(sys.argv[1])
    warnings.simplefilter("ignore")
    with failures.raise_kernel_errors():  # without the fallback to torch's operators
        make_all(task)


def make_all(task: dict) -> None:
    """Runs the parts and reports them."""
    # stdout is for reports only: the output of libraries goes to stderr.
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    if any(name in LINES for name in task["names"]):
        import_mmpretrain()
    for name in task["names"]:
        if time.time() > task["until"]:
            print(json.dumps(dict(name=name, state="not run", said=task["over"])), file=report)
            continue
        print(json.dumps(dict(start=name)), file=report)
        begin = time.time()
        outcome = make(name, task["device"], task["small"], task["rounds"])
        outcome["seconds"] = round(time.time() - begin, 2)
        print(json.dumps(dict(name=name) | outcome), file=report)
        if outcome["state"] == "FAILED" and not device_answers(task["device"]):
            sys.exit(3)


def make(name: str, device: str, small: bool, rounds: int) -> dict:
    """Runs one part; errors are part of its outcome."""
    try:
        figures = {}
        if name in LINES:
            figures = measure(LINES[name], device, small, rounds)
        else:
            CHECKS[name].run(device)
        if device == "cuda":
            torch.cuda.synchronize()  # errors on the GPU are raised late
        return dict(state="measured" if name in LINES else "passed") | figures
    except NotRun as reason:
        return dict(state="not run", said=str(reason))
    except Exception as error:  # other parts must still run
        if isinstance(error, ModuleNotFoundError) and error.name in OPTIONAL:
            return dict(state="not run", said=f"{error.name} is not installed.")
        traceback.print_exc()
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        said = " ".join(f"{kind}{error}".split())[:200]
        return dict(state="FAILED", said=said or "An assertion failed.")


def device_answers(device: str) -> bool:
    """Whether the device still works after an error."""
    try:
        torch.zeros(1, device=device).item()
    except RuntimeError:
        return False
    return True


if __name__ == "__main__":
    main()
