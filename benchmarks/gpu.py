#!/usr/bin/env python
"""Checks and measures what needs an NVIDIA GPU, in under 8 minutes: python benchmarks/gpu.py.

First the tests marked gpu, then the speed lines below, beside their peers in interleaved rounds,
then one training iteration of the detector and its test in several views. A table comes last; a
line that fails says why, and the others go on. Needed beside the project's packages: for the lines
of mmdet, mmpretrain 1.2.0 (requirements/mmpretrain.txt). Pictures are random: no data and no
weights are read.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from detector import config, import_mmpretrain, training_step, views_step
from mmengine.config import Config

from convnext_dense.engine.cli import Parser, run_tool
from convnext_dense.errors import UserError
from convnext_dense.paper import throughput
from convnext_dense.paper.steps import Options
from convnext_dense.paper.timing import Step, run_rounds, summarise, warm_up

ROOT = Path(__file__).parents[1]
DETECTOR = str(ROOT / "configs/detection/cascade_convnext_t_3x.py")
STOCK = str(ROOT / "benchmarks/stock_cascade_convnext_t.py")
WHOLE = 1.3  # wanted ratio of whole detectors
TESTS = ("tests/kernels", "tests/ops", "tests/models", "tests/engine/test_tools.py")


@dataclass(frozen=True)
class Line:
    """What is measured, and the ratio to the peer that is wanted.

    Attributes:
        model: As ``tools/benchmark.py`` takes it.
        peer: As its ``--against`` does.
        wanted: Ratio of images/s.
        ideal: Images/s that memory (4.3 TB/s) and arithmetic (790 TFLOP/s bf16) of an H200 allow,
            by count: docs/kernels.md. None where it was not counted.
        memory: Ratio of peak memory that is not to be exceeded; None where none is set.
        batch_size, image_size, compile: See :class:`Options`.
    """

    model: str
    peer: str
    mode: str
    wanted: float
    ideal: float | None = None
    memory: float | None = None
    batch_size: int = 256
    image_size: tuple[int, int] = (224, 224)
    compile: bool = False


LINES = (
    Line("cls:tiny", "timm:convnext_tiny", "train", 1.5, 16_200, 0.75),
    Line("cls:tiny", "timm:convnext_tiny", "train", 1.15, 16_200, compile=True),
    Line("cls:tiny", "timm:convnext_tiny", "infer", 1.8, 56_000),
    Line("cls:tiny", "timm:convnext_tiny", "infer", 1.15, 56_000, compile=True),
    Line("cls:base", "timm:convnext_base", "train", 1.5, 6_200, 0.75),
    Line("cls:base", "timm:convnext_base", "train", 1.15, 6_200, compile=True),
    Line("tiny", "timm:convnext_tiny", "train", 1.5, 663, None, 2, (800, 1280)),
    Line(DETECTOR, STOCK, "detect", 1.3, batch_size=1, image_size=(800, 1333)),
)


@dataclass(frozen=True)
class Row:
    """A line of the table: images/s of ours and of the peer, ratios, our share of the ideal."""

    name: str
    ours: float | None = None
    peer: float | None = None
    ratio: float | None = None
    wanted: float | None = None
    memory: float | None = None
    of_ideal: float | None = None
    said: str = ""


def measure(line: Line, device: str, rounds: int) -> Row:
    """Measures a line; what goes wrong is said in its row."""
    name = f"{line.mode} {Path(line.model).stem}{' compiled' if line.compile else ''}"
    options = Options(
        mode=line.mode,
        device=device,
        amp="bf16",
        channels_last=True,
        compile=line.compile,
        batch_size=line.batch_size,
        image_size=line.image_size,
        rounds=rounds,
    )
    try:
        ours, peer = throughput.compare([line.model], [line.peer], options)
    except (UserError, RuntimeError, ImportError) as error:
        return Row(name, wanted=line.wanted, said=" ".join(str(error).split())[:160])
    memory = None
    if ours.peak_memory_mb and peer.peak_memory_mb:
        memory = ours.peak_memory_mb / peer.peak_memory_mb
    said = f"memory wanted <= {line.memory}" if line.memory else ""
    share = ours.images_per_s / line.ideal if line.ideal else None
    speeds = ours.images_per_s, peer.images_per_s, ours.ratio
    return Row(name, *speeds, line.wanted, memory, share, said)


def measure_detector(name: str, make: Callable[[Config, bool], Step], count: int, args) -> Row:
    """A step of our detector, of ``count`` pictures, beside that of the stock one."""
    try:
        steps = [make(config(path, args.small), path == STOCK) for path in (DETECTOR, STOCK)]
        counts = [warm_up(step, args.device).count for step in steps]
        ours, stock = summarise(count / run_rounds(steps, counts, args.rounds, args.device))
    except (UserError, RuntimeError, ImportError, KeyError) as error:
        return Row(name, wanted=WHOLE, said=" ".join(str(error).split())[:160])
    return Row(name, ours.images_per_s, stock.images_per_s, ours.ratio, WHOLE)


def measure_detectors(args) -> Iterator[Row]:
    """Training, and the test in several views."""
    size = (128, 160) if args.small else (800, 1333)

    def training(cfg: Config, stock: bool) -> Step:
        return training_step(cfg, args.device, size, count=2)

    def views(cfg: Config, stock: bool) -> Step:
        return views_step(cfg, args.device, (480, 640), stock)

    for name, make, count in (("train", training, 2), ("views", views, 1)):
        if not args.lines or any(text in f"{name} detector" for text in args.lines):
            yield measure_detector(f"{name} {Path(DETECTOR).stem}", make, count, args)


def run_tests() -> Row:
    """The tests marked gpu; their last line."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).strip().splitlines()
    failed = [line for line in lines if line.startswith("FAILED")]
    print("\n".join(lines[-60:] if done.returncode else failed), file=sys.stderr)
    return Row("tests marked gpu", said=lines[-1] if lines else "no output")


def table(rows: list[Row]) -> str:
    """Plain text, a row a line."""
    text = [f"{'':42}{'ours':>10}{'peer':>10}{'ratio':>8}{'wanted':>8}{'memory':>8}{'ideal':>8}"]
    for row in rows:
        numbers = zip(
            (row.ours, row.peer, row.ratio, row.wanted, row.memory, row.of_ideal),
            ("10.1f", "10.1f", "8.2f", "8.2f", "8.2f", "8.2f"),
            strict=True,
        )
        cells = (
            f"{'-':>{form.split('.')[0]}}" if n is None else f"{n:{form}}" for n, form in numbers
        )
        text.append(f"{row.name:42}{''.join(cells)}  {row.said}")
    return "\n".join(text)


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", nargs="+", metavar="TEXT", help="lines with this in their name")
    parser.add_argument("--no-tests", action="store_true")
    parser.add_argument("--small", action="store_true", help="tiny batches and pictures, to try it")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "This measures an NVIDIA GPU, and there is none; --device cpu --small tries it."
        )
    import_mmpretrain()
    start, rows = time.time(), [] if args.no_tests else [run_tests()]
    for line in LINES:
        if args.small:
            line = replace(line, batch_size=1, image_size=(64, 96))
        if not args.lines or any(text in f"{line.mode} {line.model}" for text in args.lines):
            rows.append(measure(line, args.device, args.rounds))
    rows += measure_detectors(args)
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    print(f"{table(rows)}\n{device}, torch {torch.__version__}, {time.time() - start:.0f} s in all")


if __name__ == "__main__":
    run_tool(main)
