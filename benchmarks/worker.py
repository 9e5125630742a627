"""A process that makes parts of gpu.py, one after the other, and reports each as a line of JSON.

    python benchmarks/worker.py '{"names": [...], "device": "cuda", ...}'

The task is written by processes.py. A part's start is reported too, so that whoever waits knows
which one ended the process. After an error that the device keeps (an illegal address) the process
ends by itself: the parts that are left need another one.
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

# Packages that a machine may lack, and what needs them says so.
OPTIONAL = ("mmcv", "mmdet", "mmseg", "pycocotools", "triton")


def main() -> None:
    task = json.loads(sys.argv[1])
    warnings.simplefilter("ignore")
    with failures.raise_kernel_errors():  # a kernel that fails is not to be replaced here
        make_all(task)


def make_all(task: dict) -> None:
    """Makes the parts and reports them."""
    # Reports have the output for themselves: what libraries print goes to the errors.
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
    """Makes one part; what goes wrong is its outcome."""
    try:
        figures = {}
        if name in LINES:
            figures = measure(LINES[name], device, small, rounds)
        else:
            CHECKS[name].run(device)
        if device == "cuda":
            torch.cuda.synchronize()  # errors come late
        return dict(state="measured" if name in LINES else "passed") | figures
    except NotRun as reason:
        return dict(state="not run", said=str(reason))
    except Exception as error:  # a part that crashes must not stop the others
        if isinstance(error, ModuleNotFoundError) and error.name in OPTIONAL:
            return dict(state="not run", said=f"{error.name} is not installed.")
        traceback.print_exc()
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        said = " ".join(f"{kind}{error}".split())[:200]
        return dict(state="FAILED", said=said or "An assertion does not hold.")


def device_answers(device: str) -> bool:
    """Whether the device still computes after an error."""
    try:
        torch.zeros(1, device=device).item()
    except RuntimeError:
        return False
    return True


if __name__ == "__main__":
    main()
