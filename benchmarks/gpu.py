#!/usr/bin/env python
"""Checks and measures what needs an NVIDIA GPU, in under 8 minutes: python benchmarks/gpu.py.

First the tests marked gpu, then the speed lines below, beside their peers in interleaved rounds,
then one training iteration of the detector. A table comes last; a line that fails says why, and the
others go on. Needed beside the project's packages: for the lines of mmdet, mmpretrain 1.2.0 without
transformers (requirements/mmpretrain.txt). Pictures are random: no data and no weights are read.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import TRANSFORMS, DefaultScope

from convnext_dense.engine.cli import Parser, run_tool
from convnext_dense.errors import UserError
from convnext_dense.paper import throughput
from convnext_dense.paper.steps import AMP, Options
from convnext_dense.paper.timing import run_rounds, summarise, warm_up
from convnext_dense.paper.whole_models import META_KEYS, WholeModel, read

ROOT = Path(__file__).parents[1]
DETECTOR = str(ROOT / "configs/detection/cascade_convnext_t_3x.py")
STOCK = str(ROOT / "benchmarks/stock_cascade_convnext_t.py")
TESTS = ("tests/kernels", "tests/ops", "tests/models", "tests/engine/test_tools.py")
OBJECTS = 8  # of a picture in the detector's training iteration


@dataclass(frozen=True)
class Line:
    """What is measured, and the ratio to the peer that is wanted.

    Attributes:
        model: As ``tools/benchmark.py`` takes it.
        peer: As its ``--against`` does.
        wanted: Ratio of images/s.
        memory: Ratio of peak memory that is not to be exceeded; None where none is set.
        batch_size, image_size, compile: See :class:`Options`.
    """

    model: str
    peer: str
    mode: str
    wanted: float
    memory: float | None = None
    batch_size: int = 256
    image_size: tuple[int, int] = (224, 224)
    compile: bool = False


LINES = (
    Line("cls:tiny", "timm:convnext_tiny", "train", 1.5, 0.75),
    Line("cls:tiny", "timm:convnext_tiny", "train", 1.15, compile=True),
    Line("cls:tiny", "timm:convnext_tiny", "infer", 1.8),
    Line("cls:tiny", "timm:convnext_tiny", "infer", 1.15, compile=True),
    Line("cls:base", "timm:convnext_base", "train", 1.5, 0.75),
    Line("cls:base", "timm:convnext_base", "train", 1.15, compile=True),
    Line("tiny", "timm:convnext_tiny", "train", 1.5, batch_size=2, image_size=(800, 1280)),
    Line(DETECTOR, STOCK, "detect", 1.3, batch_size=1, image_size=(800, 1333)),
)


@dataclass(frozen=True)
class Row:
    """A line of the table: images/s of ours and of the peer, and their ratios."""

    name: str
    ours: float | None = None
    peer: float | None = None
    ratio: float | None = None
    wanted: float | None = None
    memory: float | None = None
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
    return Row(name, ours.images_per_s, peer.images_per_s, ours.ratio, line.wanted, memory, said)


def detector_step(path: str, device: str, size: tuple[int, int], count: int) -> Callable:
    """One training iteration, without the optimizer, of a detector on random pictures."""
    whole = WholeModel(read(path)).to(device)
    whole.model.train()
    rng, (height, width) = np.random.default_rng(0), size
    with DefaultScope.overwrite_default_scope("mmdet"):
        from mmdet.structures.bbox import HorizontalBoxes
        from mmdet.structures.mask import BitmapMasks

        pack = TRANSFORMS.build(dict(type="PackDetInputs", meta_keys=META_KEYS))
    samples = []
    for index in range(count):
        start = rng.uniform(0, [width / 2, height / 2], (OBJECTS, 2))
        boxes = np.hstack([start, start + rng.uniform(32, height / 2, (OBJECTS, 2))])
        masks = np.zeros((OBJECTS, height, width), np.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
            mask[top:bottom, left:right] = 1
        samples.append(
            pack(
                dict(
                    img=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
                    img_id=index,
                    img_path="",
                    img_shape=size,
                    ori_shape=size,
                    scale_factor=(1.0, 1.0),
                    gt_bboxes=HorizontalBoxes(torch.tensor(boxes, dtype=torch.float32)),
                    gt_bboxes_labels=rng.integers(0, 80, OBJECTS),
                    gt_ignore_flags=np.zeros(OBJECTS, bool),
                    gt_masks=BitmapMasks(masks, height, width),
                )
            )
        )
    data = {key: [sample[key] for sample in samples] for key in ("inputs", "data_samples")}

    def step() -> None:
        whole.model.zero_grad(set_to_none=True)
        with (
            DefaultScope.overwrite_default_scope("mmdet"),
            torch.autocast(device, AMP["bf16"]),
        ):
            batch = whole.model.data_preprocessor(data, True)
            losses = whole.model(**batch, mode="loss")
        whole.model.parse_losses(losses)[0].backward()

    return step


def detector_training(device: str, rounds: int, size: tuple[int, int], count: int = 2) -> Row:
    """The detector's training iteration beside the stock one."""
    name = f"train cascade_convnext_t {count} x {size[0]} x {size[1]}"
    try:
        steps = [detector_step(path, device, size, count) for path in (DETECTOR, STOCK)]
        counts = [warm_up(step, device).count for step in steps]
        seconds = run_rounds(steps, counts, rounds, device)
    except (UserError, RuntimeError, ImportError, KeyError) as error:
        return Row(name, wanted=1.3, said=" ".join(str(error).split())[:160])
    ours, stock = summarise(count / seconds)
    return Row(name, ours.images_per_s, stock.images_per_s, ours.ratio, 1.3)


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
    text = [f"{'':42}{'ours':>10}{'peer':>10}{'ratio':>8}{'wanted':>8}{'memory':>8}"]
    for row in rows:
        numbers = zip(
            (row.ours, row.peer, row.ratio, row.wanted, row.memory),
            ("10.1f", "10.1f", "8.2f", "8.2f", "8.2f"),
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
    start, rows = time.time(), [] if args.no_tests else [run_tests()]
    for line in LINES:
        if args.small:
            line = Line(line.model, line.peer, line.mode, line.wanted, line.memory, 1, (64, 96))
        if not args.lines or any(text in f"{line.mode} {line.model}" for text in args.lines):
            rows.append(measure(line, args.device, args.rounds))
    if not args.lines or any(text in "train detector" for text in args.lines):
        size = (128, 160) if args.small else (800, 1333)
        rows.append(detector_training(args.device, args.rounds, size))
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    print(f"{table(rows)}\n{device}, torch {torch.__version__}, {time.time() - start:.0f} s in all")


if __name__ == "__main__":
    run_tool(main)
