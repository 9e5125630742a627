"""What pretraining without labels gives: kNN accuracy, and mIoU after equal fine-tuning steps.

    python benchmarks/unlabelled.py --data-root DATA --out unlabelled/

A small ConvNeXt is pretrained on images without their labels: the training images of CIFAR-10, and
tiles of the street scenes (``cifar10/`` and ``ade/ADEChallengeData2016/`` of the data root). The
teacher of the distillation is a ConvNeXt-atto that was trained on the same CIFAR-10 images with
their labels. Measured are, for random weights and for each method,

- ``knn``: how many validation images of CIFAR-10 the 20 nearest training images classify rightly,
  by the cosine of pooled features, without any training on labels;
- ``miou``: UperNet on the street scenes after the same steps from these weights.

Each seed draws other weights, other views and another order. A finished measurement is a line in
``runs.csv``: the command goes on where it was interrupted. The table has mean and spread (standard
deviation) over the seeds. On the CPU, one thread a run.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from threading import Lock

import torch
from few_images import append, find
from few_images_data import street_flags
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from convnext_dense.models import Trunk
from convnext_dense.text_table import format_columns
from convnext_dense.weights import load_pretrained

ROOT = Path(__file__).parents[1]
ARCH = dict(depths=(2, 2, 4, 2), dims=(24, 48, 96, 192))
# The miniatures' start: the release's leaves so narrow a network silent for hundreds of steps.
KAIMING = dict(
    type="Kaiming",
    layer=["Conv2d", "Linear"],
    mode="fan_in",
    nonlinearity="linear",
    distribution="normal",
)
BLOCKS = dict(arch=ARCH, layer_scale_init_value=1.0)
OVER_NAME = dict(ARCH, _delete_=True)  # in a config, in the place of a name
SIZE = 64  # pixels of a view
TILES = 3, 4  # rows and columns of a street scene
NEIGHBOURS, TEMPERATURE = 20, 0.07
BATCH = 250
# Method -> epochs, and its config. Short runs of small steps need larger rates than the recipes'.
PRETRAINING = f"""
_base_ = ["{ROOT}/configs/self_supervised/BASE.py"]
model = dict(backbone=dict(**{dict(BLOCKS, arch=OVER_NAME)}, init_cfg={KAIMING}))
train_dataloader = dict(
    batch_size=32, num_workers=0, persistent_workers=False, pin_memory=False,
    dataset=dict(transform=dict(size={SIZE})),
)
optim_wrapper = dict(optimizer=dict(lr=8e-3))  # 1e-3 in a step of 32 images
"""
METHODS = {
    "random": None,
    "fcmae": (
        8, PRETRAINING.replace("BASE", "fcmae_convnext_t") + 'model["decoder_dim"] = 192'
    ),
    "distill": (
        2,
        PRETRAINING.replace("BASE", "distill_convnext_t")
        + 'train_dataloader["dataset"]["transform"].update(global_crops=1, local_crops=2)',
    ),
}  # fmt: skip
# Streets have a top and a bottom, unlike the shapes; their classes are rarer.
STREETS = f"""
_base_ = ["{ROOT}/configs/segmentation/upernet_convnext_a_shapes.py"]
model = dict(
    backbone=dict(**{dict(BLOCKS, arch=OVER_NAME)}),
    decode_head=dict(in_channels={[*ARCH["dims"]]}, loss_decode=dict(power=0.25)),
    auxiliary_head=dict(in_channels={ARCH["dims"][2]}, loss_decode=dict(power=0.25)),
)
pipeline = [*_base_.train_pipeline]
pipeline[4] = dict(type="RandomFlip", prob=0.5, direction="horizontal")
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=pipeline))
optim_wrapper = dict(optimizer=dict(lr=2e-3))
default_hooks = dict(checkpoint=dict(interval=1000))
"""
TEACHER_EPOCHS = 8
STEPS = 150
LINE = ("measure", "method", "seed", "figure", "seconds")


def main() -> None:
    """The command."""
    args = read_arguments()
    lock = Lock()
    if not args.table:
        images = gather_images(args.data_root, args.out / "images")
        with ThreadPoolExecutor(args.jobs) as pool:
            teacher = pool.submit(train_teacher, args)
            runs = [
                pool.submit(measure, args, images, method, seed, teacher, lock)
                for seed in args.seeds
                for method in args.methods
            ]
            for run in runs:
                run.result()
    print(format_table(read_lines(args.out)))


def read_arguments() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True, help="holds cifar10/ and ade/")
    parser.add_argument("--out", type=Path, required=True, help="folder of runs.csv and the runs")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--table", action="store_true", help="only print the table")
    return parser.parse_args()


def gather_images(data_root: Path, folder: Path) -> Path:
    """A folder of all images to pretrain on: CIFAR-10 as a link, tiles of the training scenes."""
    tiles, cifar = folder / "streets", folder / "cifar10"
    if not cifar.is_symlink():
        tiles.mkdir(parents=True, exist_ok=True)
        for path in sorted((data_root / "ade/ADEChallengeData2016/images/training").glob("*.jpg")):
            for number, tile in enumerate(cut(Image.open(path).convert("RGB"))):
                tile.save(tiles / f"{path.stem}_{number:02}.png")
        cifar.symlink_to((data_root / "cifar10/train").resolve())
    return folder


def cut(image: Image.Image) -> Iterator[Image.Image]:
    """The tiles of an image, row by row."""
    rows, columns = TILES
    width, height = image.width // columns, image.height // rows
    for top in range(rows):
        for left in range(columns):
            x, y = left * width, top * height
            yield image.crop((x, y, x + width, y + height))


def train_teacher(args: argparse.Namespace) -> Path:
    """The work folder of the teacher: a classifier, trained once on CIFAR-10's labels."""
    folder = args.out / "teacher"
    if "distill" in args.methods and not list(folder.glob("epoch_*.pth")):
        length = [f"train_cfg.max_epochs={TEACHER_EPOCHS}", f"param_scheduler.end={TEACHER_EPOCHS}",
                  "train_cfg.val_interval=1000"]  # fmt: skip
        data = ["--data-root", args.data_root, "--seed", 0]
        start("pretrain", ["convnext_a_cifar10", *data, "--cfg-options", *length], folder)
    return folder


def measure(
    args: argparse.Namespace, images: Path, method: str, seed: int, teacher: Future, lock: Lock
) -> None:
    """Pretrains with one method and seed, and writes the lines of both measures."""
    done = read_lines(args.out)
    folder = args.out / f"{method}-{seed}"
    if METHODS[method] and not list(folder.glob("epoch_*.pth")):
        pretrain(method, images, seed, teacher, folder)
    for name, function in (("knn", knn), ("miou", fine_tune)):
        if (name, method, seed) in done:
            continue
        begin = time.perf_counter()
        figure = function(args, None if method == "random" else folder, method, seed)
        seconds = f"{time.perf_counter() - begin:.0f}"
        values = (name, method, seed, f"{figure:.5f}", seconds)
        with lock:
            append(args.out / "runs.csv", dict(zip(LINE, values, strict=True)), LINE)
            print(*values, flush=True)


def pretrain(method: str, images: Path, seed: int, teacher: Future, folder: Path) -> None:
    """Pretrains without labels."""
    epochs, text = METHODS[method]
    given = [
        write_config(folder, text),
        "--images",
        images,
        "--image-size",
        SIZE,
        "--epochs",
        epochs,
        "--seed",
        seed,
    ]
    if method == "distill":
        given += ["--teacher", newest(teacher.result())]
    given += ["--cfg-options", f"default_hooks.checkpoint.interval={epochs}"]
    start("pretrain", given, folder)


def newest(folder: Path) -> Path:
    """The last checkpoint of a finished run."""
    return max(folder.glob("epoch_*.pth"), key=lambda path: path.stat().st_mtime)


@torch.no_grad()
def knn(args: argparse.Namespace, folder: Path | None, method: str, seed: int) -> float:
    """Share of CIFAR-10's validation images that their nearest training images classify rightly."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Trunk(**BLOCKS, init_cfg=KAIMING).eval()
        network.init_weights()
    if folder:
        load_pretrained(network, newest(folder))
    (bank, labels), (asked, truth) = (
        features(network, args.data_root / "cifar10" / split) for split in ("train", "val")
    )
    closeness, nearest = (asked @ bank.T).topk(NEIGHBOURS)
    votes = torch.zeros(len(asked), int(labels.max()) + 1)
    votes.scatter_add_(1, labels[nearest], (closeness / TEMPERATURE).exp())
    return (votes.argmax(1) == truth).double().mean().item()


def features(network: Trunk, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled features of unit length (n, D) and labels (n,) of class folders."""
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    files = [
        (path, i) for i, name in enumerate(classes) for path in sorted((folder / name).iterdir())
    ]
    found = []
    for begin in range(0, len(files), BATCH):
        images = [Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.BICUBIC)
                  for path, _ in files[begin : begin + BATCH]]  # fmt: skip
        pixels = torch.stack([pil_to_tensor(image) for image in images]).float()
        mean = torch.tensor((123.675, 116.28, 103.53)).view(-1, 1, 1)
        std = torch.tensor((58.395, 57.12, 57.375)).view(-1, 1, 1)
        *_, last = network.stage_maps((pixels - mean) / std)
        found.append(torch.nn.functional.normalize(last.mean((2, 3)), dim=1))
    return torch.cat(found), torch.tensor([label for _, label in files])


def fine_tune(args: argparse.Namespace, folder: Path | None, method: str, seed: int) -> float:
    """mIoU of UperNet on the street scenes after a fixed number of steps."""
    out = args.out / f"streets-{method}-{seed}"
    weights = ["--backbone-weights", newest(folder)] if folder else []
    data = street_flags(args.data_root, args.out / f"data-{method}-{seed}", 120, 0)
    length = [f"train_cfg.max_iters={STEPS}", "train_cfg.val_interval=1000"]
    options = ["--seed", seed, "--cfg-options", *length]
    start("train", [write_config(out, STREETS), *data, *weights, *options], out)
    return find(json.loads((out / "metrics.json").read_text()), "mIoU")


def write_config(folder: Path, text: str) -> Path:
    """The config of a run, beside its folder."""
    path = folder.with_suffix(".py")
    path.write_text(text)
    return path


def start(command: str, flags: list, folder: Path) -> None:
    """Runs a command in a process of its own, with one thread."""
    if folder.exists():
        subprocess.run(["rm", "-r", str(folder)], check=True)  # of a run that was interrupted
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    words = [sys.executable, "-m", "convnext_dense", command, *flags[:1], "--work-dir", folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with log.open("w") as file:
        done = subprocess.run(
            list(map(str, [*words, *flags[1:]])),
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"A run failed, see {log}:\n{log.read_text()[-1500:]}")


def read_lines(out: Path) -> dict[tuple[str, str, int], float]:
    """The figures of finished measurements."""
    path = out / "runs.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    return {
        (line["measure"], line["method"], int(line["seed"])): float(line["figure"])
        for line in lines
    }


def format_table(found: dict[tuple[str, str, int], float]) -> str:
    """A row a method, a column a measure: mean +- spread over the seeds (their number)."""
    rows = [("weights", "kNN accuracy", "mIoU")]
    for method in METHODS:
        cells = []
        for measure_name in ("knn", "miou"):
            values = [
                v for (name, one, _), v in found.items() if (name, one) == (measure_name, method)
            ]
            spread = f" +- {stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.3f}{spread} ({len(values)})" if values else "")
        rows.append((method, *cells))
    return "\n".join(format_columns(rows, "<>>"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
