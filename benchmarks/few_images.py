"""Which fine-tuning flags help with few images: each preset trained on 16, 64 ... images.

    make demo DEMO_DIR=demo
    python benchmarks/few_images.py --start demo --data-root DATA --out few/

Every run starts from the weights of a detector of the embedded shapes (``make demo``), has the same
number of images a step and of iterations, and is evaluated on images that no run was trained on.
The run's seed also chooses its training images, the same for all presets. A finished run is a line
in ``runs.csv``: the command goes on where it was interrupted. The table has mean and spread
(standard deviation) over the seeds.

Detection takes ``coco/`` of the data root, with one class for all objects of at least 96 x 96
pixels: few images of 80 classes say nothing about most of them, and smaller objects have only a few
pixels in the images of these models. Segmentation takes ``ade/ADEChallengeData2016/``. Both with
the miniature models, on the CPU.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import mean, stdev
from threading import Lock

from few_images_data import coco_flags, street_flags

from convnext_dense.text_table import format_columns

ROOT = Path(__file__).parents[1]
# Preset -> flags of a training.
PRESETS = {
    "recipe": [],
    "none": ["--augment", "none"],
    "mild": ["--augment", "mild"],
    "lsj": ["--augment", "lsj"],
    "copy-paste": ["--augment", "copy-paste"],
    "mosaic": ["--augment", "mosaic"],
    "balance": ["--balance"],
    "freeze-1": ["--freeze", "1"],
    "freeze-2": ["--freeze", "2"],
    "freeze-backbone": ["--freeze", "backbone"],
    "head-lr-5": ["--head-lr-mult", "5"],
    "few": ["--few"],
}
COMPARED = [name for name in PRESETS if name not in ("freeze-1", "few")]
LINE = ("task", "preset", "images", "seed", "steps", "figure", "seconds")


@dataclass(frozen=True)
class Task:
    """How a task is trained here.

    Attributes:
        config: The miniature config.
        start: The flag that loads the starting weights.
        sizes: Numbers of training images.
        without: Presets that say nothing here.
        figure: The key in ``metrics.json``.
        batch: Images of a step.
        iterations: Steps of a run.
        rate: The learning rate.
        options: More of ``--cfg-options``, the same for all presets.
    """

    config: str
    start: str
    sizes: tuple[int, ...]
    without: tuple[str, ...]
    figure: str
    batch: int
    iterations: int
    rate: float
    options: tuple[str, ...] = ()


TASKS = {
    "detection": Task(
        "mask_rcnn_convnext_a_shapes",
        "--load-from",
        (16, 64, 82),  # of 100 images, 82 have such an object
        ("balance",),  # a single class is in every image
        "bbox_mAP_50",
        batch=2,
        iterations=240,
        rate=2e-3,
    ),
    "segmentation": Task(
        "upernet_convnext_a_shapes",
        "--backbone-weights",
        (16, 64, 120),
        ("copy-paste",),
        "mIoU",
        batch=2,
        iterations=600,
        rate=2e-3,
        # Streets have a top and a bottom, unlike the shapes; their classes are rarer.
        options=(
            "train_dataloader.dataset.pipeline.4.prob=0.5",
            "train_dataloader.dataset.pipeline.4.direction=horizontal",
            "model.decode_head.loss_decode.power=0.25",
            "model.auxiliary_head.loss_decode.power=0.25",
        ),
    ),
}
Run = tuple[str, str, int, int]  # task, preset, images, seed


def main() -> None:
    """The command."""
    args = read_arguments()
    done = read_lines(args)
    if not args.table:
        wanted = list(runs_of(args))
        missing = [run for run in wanted if run not in done]
        print(f"{len(missing)} of {len(wanted)} runs are left, {args.jobs} at a time.", flush=True)
        lock = Lock()
        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(lambda run: train(args, run, lock), missing))
    print(format_tables(read_lines(args)))


def read_arguments() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--start", type=Path, required=True, help="work folder of make demo")
    parser.add_argument("--data-root", type=Path, required=True, help="holds coco/ and ade/")
    parser.add_argument("--out", type=Path, required=True, help="folder of runs.csv and the runs")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=COMPARED)
    parser.add_argument("--sizes", nargs="+", type=int, help="numbers of training images")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, help="steps of a run (default: the task's)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--table", action="store_true", help="only print the table")
    return parser.parse_args()


def runs_of(args: argparse.Namespace) -> Iterator[Run]:
    """All runs, seed by seed: an interrupted comparison is whole for the seeds that it has."""
    for seed in args.seeds:
        for name in args.tasks:
            task = TASKS[name]
            for size in args.sizes or task.sizes:
                for preset in args.presets:
                    if preset not in task.without:
                        yield name, preset, size, seed


def read_lines(args: argparse.Namespace) -> dict[Run, float]:
    """The figures of finished runs of this length."""
    path = args.out / "runs.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    return {
        (line["task"], line["preset"], int(line["images"]), int(line["seed"])): float(
            line["figure"]
        )
        for line in lines
        if int(line["steps"]) == steps_of(args, line["task"])
    }


def steps_of(args: argparse.Namespace, task: str) -> int:
    """Steps of a task's runs."""
    return args.iterations or TASKS[task].iterations


def train(args: argparse.Namespace, run: Run, lock: Lock) -> None:
    """Trains and evaluates one run, and writes its line."""
    name, preset, size, seed = run
    task = TASKS[name]
    folder = args.out / "runs" / "-".join(map(str, run))
    with lock:  # runs of several presets share their files
        flags = {"detection": coco_flags, "segmentation": street_flags}[name]
        data = flags(args.data_root, args.out / "data", size, seed)
    steps = steps_of(args, name)
    length = (
        f"max_epochs={max(1, round(steps / ceil(size / task.batch)))}"
        if name == "detection"
        else f"max_iters={steps}"
    )
    begin = time.perf_counter()
    start(
        task.config,
        folder,
        [
            *data, *PRESETS[preset], "--seed", seed, task.start, args.start.absolute(),
            "--cfg-options", f"train_cfg.{length}", "train_cfg.val_interval=1000",
            "default_hooks.checkpoint.interval=1000",
            f"train_dataloader.batch_size={task.batch}", f"optim_wrapper.optimizer.lr={task.rate}",
            *task.options,
        ],
    )  # fmt: skip
    metrics = json.loads((folder / "metrics.json").read_text())
    figure = find(metrics, task.figure)
    line = dict(
        zip(LINE, (*run, steps, f"{figure:.5f}", f"{time.perf_counter() - begin:.0f}"), strict=True)
    )
    with lock:
        append(args.out / "runs.csv", line, LINE)
        print(*line.values(), flush=True)


def find(metrics: Mapping, key: str) -> float:
    """A figure of ``metrics.json``, whatever its prefix."""
    return next(value for name, value in metrics.items() if name.split("/")[-1] == key)


def start(config: str, folder: Path, flags: list) -> None:
    """Runs a training in a process of its own, with one thread."""
    words = [sys.executable, "-m", "convnext_dense", "train", config, "--work-dir", folder, *flags]
    if folder.exists():
        subprocess.run(["rm", "-r", str(folder)], check=True)  # of a run that was interrupted
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    with log.open("w") as file:
        done = subprocess.run(
            list(map(str, words)),
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            check=False,
        )
    if done.returncode:
        sys.exit(f"A run failed, see {log}:\n{log.read_text()[-1500:]}")


def append(path: Path, line: Mapping[str, str], columns: Sequence[str]) -> None:
    """Adds a line to a csv of these columns."""
    is_new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if is_new:
            writer.writeheader()
        writer.writerow(line)


def format_tables(found: Mapping[Run, float]) -> str:
    """A table a task: a row a preset, a column a number of images, mean +- spread over seeds."""
    tables = []
    for task, about in TASKS.items():
        sizes = sorted({size for name, _, size, _ in found if name == task})
        if not sizes:
            continue
        rows = [("preset", *(f"{size} images" for size in sizes))]
        for preset in PRESETS:
            cells = []
            for size in sizes:
                values = [
                    value
                    for (name, one, images, _), value in found.items()
                    if (name, one, images) == (task, preset, size)
                ]
                spread = f" +- {stdev(values):.3f}" if len(values) > 1 else ""
                cells.append(f"{mean(values):.3f}{spread} ({len(values)})" if values else "")
            if any(cells):
                rows.append((preset, *cells))
        title = f"{task}: {about.figure} (seeds)"
        tables.append("\n".join([title, *format_columns(rows, ("<", *[">"] * len(sizes)))]))
    return "\n\n".join(tables)


if __name__ == "__main__":
    main()
