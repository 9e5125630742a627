"""The learning rates of all groups over a whole training, computed without a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.registry import DATASETS

from convnext_dense.errors import UserError
from convnext_dense.optim.stepping import (
    Plan,
    build_schedulers,
    shadow_optimizer,
    step_schedulers,
)

POINTS = 4000  # more than the width of the drawing in pixels
ASSUMED_EPOCH = 1000
IMAGENET = {"imagenet/train": 1_281_167, "imagenet22k": 14_197_122}  # folder -> images
COCO_TRAIN_FILES = ("instances_train2017.json", "panoptic_train2017.json")
COCO_TRAIN_IMAGES, COCO_WITHOUT_OBJECT = 118_287, 1_021


@dataclass(frozen=True)
class LrCurve:
    """Learning rates over training.

    Attributes:
        iterations: P sampled iterations, the first and the last among them.
        rates: P values for each distinct initial learning rate, ascending.
        total: iterations of the training.
        epochs: epochs of the training; None where its iterations are stated.
    """

    iterations: list[int]
    rates: list[list[float]]
    total: int
    epochs: int | None


def lr_curve(
    initial_lrs: Sequence[float],
    schedulers: Sequence[Mapping] | Mapping | None,
    train_cfg: Mapping,
    per_epoch: int | None = None,
) -> LrCurve:
    """Steps the config's own schedulers, as mmengine's Runner would, on a dummy optimizer.

    Args:
        initial_lrs: learning rate of each group before any schedule; equal ones give one line.
        schedulers: the config's `param_scheduler`.
        train_cfg: holds `max_epochs` or `max_iters`; with both, the run ends at the earlier one.
        per_epoch: iterations of an epoch; needed where `train_cfg` counts epochs.

    Raises:
        UserError: `train_cfg` states no length.
    """
    epochs, iters = train_cfg.get("max_epochs"), train_cfg.get("max_iters")
    if epochs is None and iters is None:
        raise UserError("train_cfg must state max_epochs or max_iters")
    # To mmengine an iteration-based training is one single epoch.
    total, per_epoch = (iters, iters) if epochs is None else (epochs * per_epoch, per_epoch)
    if iters is not None:
        total = min(total, iters)  # a run of epochs that `--max-iters` ended
    optimizer = shadow_optimizer(sorted(set(initial_lrs)))
    built = build_schedulers(schedulers, optimizer, Plan(per_epoch, epochs or 1, total))
    optimizer._global_step = 0  # else the schedules warn that no step was made before theirs
    steps = step_schedulers(built, per_epoch)

    stride = max(1, total // POINTS)
    iterations, points = [], []
    for i in range(total):
        if i % stride == 0 or i == total - 1:
            iterations.append(i)
            points.append([group["lr"] for group in optimizer.optimizer.param_groups])
        next(steps)
    return LrCurve(
        iterations,
        [list(line) for line in zip(*points, strict=True)],
        total,
        None if total == iters else epochs,
    )


def training_annotations(cfg: Mapping) -> Path:
    """The annotation file of a config's training images (a folder where it names none)."""
    dataset = cfg["train_dataloader"]["dataset"]
    while "dataset" in dataset:  # wrappers, such as RepeatDataset
        dataset = dataset["dataset"]
    return Path(dataset.get("data_root") or "", dataset.get("ann_file") or "")


def epoch_length(cfg: Mapping) -> tuple[int, str]:
    """Iterations of an epoch of a config, and a phrase that states their source.

    Counted from the dataset where it exists; else known for COCO and ImageNet; else assumed. The
    batch size is the one that the learning rate was chosen for (`auto_scale_lr.base_batch_size`),
    or else that of one process.
    """
    loader, annotations = cfg["train_dataloader"], training_annotations(cfg)
    batch = (cfg.get("auto_scale_lr") or {}).get("base_batch_size") or loader["batch_size"]
    if annotations.is_file():
        images, source = len(DATASETS.build(loader["dataset"])), str(annotations)
    elif annotations.name in COCO_TRAIN_FILES and "dataset" not in loader["dataset"]:
        images, source = coco_train_images(loader["dataset"]), "COCO train2017"
    elif folder := next((f for f in IMAGENET if str(annotations).endswith(f)), None):
        images, source = IMAGENET[folder], folder
    else:
        return (
            ASSUMED_EPOCH,
            f"{ASSUMED_EPOCH:,} iterations an epoch assumed, the dataset is not here",
        )
    length = -(-images // batch)
    return (
        length,
        f"{length:,} iterations an epoch: {images:,} images ({source}), {batch} a step",
    )


def coco_train_images(dataset: Mapping) -> int:
    """Images of COCO train2017 that a dataset uses: ``filter_empty_gt`` leaves some out."""
    filtered = (dataset.get("filter_cfg") or {}).get("filter_empty_gt", False)
    return COCO_TRAIN_IMAGES - (COCO_WITHOUT_OBJECT if filtered else 0)


def draw_curve(curve: LrCurve, path: str | Path, note: str = "") -> None:
    """Draws one line for each distinct learning rate as a PNG, low ones dark and high ones light.

    Args:
        curve: the result of `lr_curve`.
        path: the PNG; missing folders are created.
        note: a phrase under the axis of an epoch-based training.
    """
    from matplotlib import colormaps  # here, since the import takes half a second
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    steps, label = curve.iterations, "iteration"
    if curve.epochs is not None:
        steps = [step * curve.epochs / curve.total for step in steps]
        label = f"epoch\n{note}" if note else "epoch"
    colours = colormaps["viridis"].resampled(len(curve.rates) + 1)
    for index, line in enumerate(curve.rates):
        axes.plot(steps, line, color=colours(index), label=f"{max(line):.3g}", linewidth=1.2)
    axes.set_yscale("log", nonpositive="mask")
    # Down to a thousandth of the lowest learning rate: a warmup from nearly 0 must not squeeze it.
    floors = [max(line) for line in curve.rates if max(line) > 0]
    axes.set_ylim(bottom=min(floors, default=1.0) / 1000)
    axes.set(xlabel=label, ylabel="learning rate")
    axes.grid(alpha=0.3)
    figure.legend(title="highest rate", loc="outside right upper", reverse=True)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=120)
