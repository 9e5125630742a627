"""What is wrong with this machine's environment, and how to mend it.

At the top this imports the standard library alone, since anything else may be broken; for the same
reason ``tools/doctor.py`` reads this file by its path.
"""

import argparse
import ast
import contextlib
import importlib
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

OK, WARNING, BROKEN = "ok", "warning", "broken"
ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
PYTHONS = ((3, 10), (3, 13))
# Imported in this order: what fails first explains what fails later.
IMPORTS = {
    "numpy": "pip install --force-reinstall numpy",
    "torch": "install torch as requirements/lock.txt names it",
    "torchvision": "install the torchvision that belongs to torch (requirements/lock.txt)",
    "PIL.Image": "pip install --force-reinstall pillow",
    "cv2": "pip uninstall opencv-python opencv-python-headless, then pip install one of them",
    "timm": "pip install --upgrade timm",
    "mmengine.runner": "pip install mmengine==0.10.7",
    "convnext_dense": "run pip install 'convnext_dense[all]'",
    "mmcv.ops": "pip uninstall mmcv mmcv-lite, then pip install mmcv-lite==2.1.0",
    "mmdet.models": "pip install mmdet==3.3.0",
    "mmseg.models": "pip install mmsegmentation==1.2.2",
}
# Lists of setup.py, and what they are for.
PARTS = {
    "CORE": "",
    "TASKS": "detection and segmentation",
    "DETECTION": "detection",
    "SEGMENTATION": "segmentation",
}
# Packages that put files into the same folder: the one installed last wins, in part.
CLASHES = (
    ("opencv-python", "opencv-python-headless", "opencv-contrib-python",
     "opencv-contrib-python-headless"),
    ("pillow", "pillow-simd"),
    ("mmcv", "mmcv-lite"),
)  # fmt: skip


class Finding(NamedTuple):
    """One line of the report: its state, what it is about, what was found, how to mend it."""

    state: str
    topic: str
    found: str
    fix: str = ""


def run(args: argparse.Namespace) -> int:
    """The command: prints the report.

    Args:
        args: ``json`` asks for JSON.

    Returns:
        Exit code: 0, or 2 where something is broken.
    """
    warnings.filterwarnings("ignore")
    with contextlib.redirect_stdout(sys.stderr):  # the libraries' chatter is not the answer
        findings = examine()
    usable = all(finding.state != BROKEN for finding in findings)
    if args.json:
        rows = [finding._asdict() for finding in findings]
        print(json.dumps(dict(usable=usable, findings=rows), indent=2))
    else:
        for state, topic, found, fix in findings:
            print(f"{state:8} {topic:28} {found}" + (f"\n{'':8} -> {fix}" if fix else ""))
        print("usable" if usable else "broken: mend the lines above that say so")
    return 0 if usable else 2


def examine() -> list[Finding]:
    """Looks at everything; what breaks a look is a finding, never an error."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        python, packages, pairs, clashes, imports, operators, gpu, machine, variables,
    ]  # fmt: skip
    findings = []
    for check in checks:
        try:
            findings += check()
        except Exception as error:  # whatever a broken package raises
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}, line {last.lineno}"
            findings.append(Finding(BROKEN, check.__name__, f"{_line(error)} ({where})"))
    return findings


def python() -> Iterator[Finding]:
    """The interpreter."""
    found = f"{platform.python_version()} on {platform.platform()}"
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        yield Finding(OK, "python", found)
    else:
        low, high = (".".join(map(str, one)) for one in PYTHONS)
        yield Finding(BROKEN, "python", found, f"use Python {low} to {high}")


def packages() -> Iterator[Finding]:
    """Installed versions against the supported ranges."""
    from packaging.requirements import Requirement

    for text, extra in requirements():
        wanted = Requirement(text)
        found = installed(wanted.name)
        if wanted.name == "mmcv-lite" and found is None and installed("mmcv"):
            continue  # the compiled one takes its place
        if found is None and extra:
            fix = f"needed for {extra}: pip install '{text}'"
            yield Finding(WARNING, wanted.name, "is not installed", fix)
        elif found is None or not wanted.specifier.contains(found, prereleases=True):
            found = found or "is not installed"
            yield Finding(BROKEN, wanted.name, found, f"pip install '{text}'")
        else:
            yield Finding(OK, wanted.name, f"{found} ({wanted.specifier or 'any'})")


def pairs() -> Iterator[Finding]:
    """Packages that do not go together."""
    torch = installed("torch")
    pin = next((r for r in _requires("torchvision") if re.match(r"torch\s*\(?==", r)), None)
    if torch and pin:
        wanted = re.search(r"==\s*([\d.]+)", pin)[1]
        if torch.split("+")[0] != wanted:
            fix = f"install the torchvision of torch {torch}, or torch=={wanted}"
            found = f"torchvision {installed('torchvision')} was built for torch {wanted}"
            yield Finding(BROKEN, "torch and torchvision", f"{found}, here is {torch}", fix)
    transformers = installed("transformers")
    if installed("mmpretrain") and transformers and int(transformers.split(".")[0]) >= 5:
        yield Finding(
            BROKEN,
            "mmpretrain and transformers",
            f"mmdet imports mmpretrain where it finds it, and that breaks with transformers "
            f"{transformers}",
            "pip uninstall mmpretrain, or pip install 'transformers<5'",
        )


def clashes() -> Iterator[Finding]:
    """Packages that overwrite each other's files."""
    for group in CLASHES:
        if len(there := [name for name in group if installed(name)]) > 1:
            fix = f"pip uninstall {' '.join(there)}, then install one of them again"
            yield Finding(WARNING, " and ".join(there), "share a folder", fix)


def imports() -> Iterator[Finding]:
    """Whether the packages that are installed can be imported."""
    sys.path.append(str(ROOT))  # the package of this checkout, where none is installed
    for name, fix in IMPORTS.items():
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] == name.split(".")[0]:
                continue  # not installed: said above
            yield Finding(BROKEN, f"import {name}", _line(error), fix)
        except Exception as error:
            yield Finding(BROKEN, f"import {name}", _line(error), fix)
        else:
            yield Finding(OK, f"import {name}", "works")


def operators() -> Iterator[Finding]:
    """mmcv's operators: whose they are, and two of them at work."""
    if "mmcv.ops" not in sys.modules:
        return
    import torch
    from mmcv.ops import nms, roi_align

    from convnext_dense import ops

    fix = "pip uninstall mmcv and pip install mmcv-lite==2.1.0, or build mmcv for this torch"
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
    kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)[1].tolist()
    rois = torch.tensor([[0.0, 0, 0, 4, 4]])
    mean = roi_align(torch.full((1, 1, 8, 8), 3.0), rois, (2, 2)).mean().item()
    right = kept == [0, 2] and abs(mean - 3) < 1e-6
    state, found = (OK, "work") if right else (BROKEN, f"are wrong: nms {kept}, roi_align {mean}")
    yield Finding(state, "mmcv's operators", f"{ops.provider()}'s nms and roi_align {found}",
                  "" if right else fix)  # fmt: skip


def gpu() -> Iterator[Finding]:
    """GPUs, as the driver and as torch see them."""
    command = [
        "nvidia-smi",
        "--query-gpu=name,memory.total,driver_version",
        "--format=csv,noheader",
    ]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        cards = said.stdout.strip().splitlines()
    except (OSError, subprocess.SubprocessError):
        cards = []
    for card in cards:
        yield Finding(OK, "driver", card)
    if "torch" not in sys.modules:
        return
    import torch

    if not torch.cuda.is_available():
        fix = f"torch {torch.__version__} cannot use it: update the driver" if cards else ""
        yield Finding(BROKEN if cards else OK, "gpu", "none that torch can use", fix)
        return
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        torch.ones(2, 2, device=f"cuda:{index}").matmul(torch.ones(2, 2, device=f"cuda:{index}"))
        yield Finding(
            OK,
            f"gpu {index}",
            f"{card.name}, {card.total_memory / GIB:.0f} GiB, CUDA {torch.version.cuda}, "
            f"Triton {installed('triton')}, {'bf16' if bf16 else 'no bf16: trains in float32'}",
        )


def machine() -> Iterator[Finding]:
    """Shared memory, open files, disk and threads."""
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total
        fix = "docker run --shm-size=8g, or train_dataloader.num_workers=0"
        yield _enough("shared memory", size, GIB, fix)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    unlimited = files == resource.RLIM_INFINITY
    state = OK if unlimited or files >= 1024 else WARNING
    fix = "" if state == OK else "ulimit -n 4096, for the processes that load data"
    yield Finding(state, "open files", "no limit" if unlimited else f"at most {files}", fix)
    fix = "checkpoints need room: name another place with --work-dir"
    yield _enough("disk", shutil.disk_usage(Path.cwd()).free, 5 * GIB, fix)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", "")
    many = threads.isdigit() and int(threads) > cores
    fix = f"export OMP_NUM_THREADS={cores}, divided by the processes" if many else ""
    found = f"{cores} cores, OMP_NUM_THREADS {threads or 'not set'}"
    yield Finding(WARNING if many else OK, "threads", found, fix)


def variables() -> Iterator[Finding]:
    """Variables that change how processes talk to each other, and what computes the blocks."""
    if kernels := os.environ.get("CONVNEXT_DENSE_KERNELS"):
        known = kernels in ("0", "1")
        fix = "" if known else "1 takes the fused kernels on a GPU, 0 never does; or unset it"
        yield Finding(OK if known else BROKEN, "CONVNEXT_DENSE_KERNELS", kernels, fix)
    for name in sorted(name for name in os.environ if name.startswith("NCCL_")):
        slow = name in ("NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE", "NCCL_IB_DISABLE")
        slow = slow and os.environ[name] not in ("", "0")
        fix = f"unset {name}, unless this machine needs it: it slows training down" if slow else ""
        yield Finding(WARNING if slow else OK, name, os.environ[name], fix)


def requirements() -> Iterator[tuple[str, str]]:
    """What the package needs (``torch>=2.6``), and the part of it that does; "" for the core."""
    if (ROOT / "setup.py").is_file():
        body = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body
        lists = {
            node.targets[0].id: node.value.elts
            for node in body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
        }
        for name, part in PARTS.items():
            yield from ((element.value, part) for element in lists[name])
        return
    for text in _requires("convnext_dense"):
        needed, _, marker = text.partition(";")
        part = re.search(r'extra == "(detection|segmentation)"', marker)
        if part or "extra" not in marker:
            yield needed.strip(), part[1] if part else ""


def installed(package: str) -> str | None:
    """The installed version of a package, which need not be importable."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _requires(package: str) -> list[str]:
    try:
        return requires(package) or []
    except PackageNotFoundError:
        return []


def _enough(topic: str, size: int, needed: int, fix: str) -> Finding:
    found = f"{size / GIB:.1f} GiB"
    return Finding(OK, topic, found) if size >= needed else Finding(WARNING, topic, found, fix)


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
