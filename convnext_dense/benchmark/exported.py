"""Speed of a trained model in torch and of what it was exported to, in one interleaved run.

All see the same drawn image and go from pixels in memory to results, with resizing and masks; a
backbone from pixels to feature maps. Their results are compared before anything is timed.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from convnext_dense import processor
from convnext_dense.benchmark.timing import Step, Summary, run_rounds, summarise, warm_up
from convnext_dense.errors import UserError
from convnext_dense.export.parity.check import COMPARE
from convnext_dense.export.parity.compare import compare_maps
from convnext_dense.export.parity.pictures import Pictures, drawn_pictures
from convnext_dense.exported.description import Description
from convnext_dense.exported.loading import Backbone, load_exported
from convnext_dense.inference.model import Model
from convnext_dense.inference.trained.loading import load_trained
from convnext_dense.text_table import format_columns

PREFIX = "export:"  # of a peer's name
# Mode -> the tasks whose exports it measures.
TASKS = {
    "infer": ("backbone", "classification"),
    "detect": ("detection",),
    "segment": ("segmentation",),
}
SIZES = {"backbone": (512, 512), "classification": (224, 224)}
PAUSE = 0.05  # seconds: threads of onnxruntime spin for a while after a run
USUAL = (800, 1066)  # height and width of the image of a detector or segmentor


@dataclass(frozen=True)
class Row:
    """One model of a run.

    Attributes:
        name: As it was named.
        how: Its runtime and precision.
        summary: Of its rounds.
    """

    name: str
    how: str
    summary: Summary


def measure(
    source: str,
    peers: Sequence[str],
    mode: str,
    image_size: tuple[int, int] | None = None,
    rounds: int = 10,
    threads: int | None = None,
    compile: bool = False,
) -> list[Row]:
    """Measures a trained model and its exports.

    Args:
        source: What :func:`convnext_dense.load` takes.
        peers: ``export:FOLDER`` each.
        mode: A name in :data:`TASKS`.
        image_size: (height, width) of the drawn image.
        rounds: Number of interleaved rounds.
        threads: Of torch and the runtimes; by default their own choice.
        compile: Also measure torch with a compiled backbone.

    Returns:
        The row of torch first.

    Raises:
        UserError: For exports of other tasks, and those with other results.
    """
    if threads:
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # where the sessions read it
    exported = {peer: load_exported(_folder(peer)) for peer in peers}
    task = _task({model.task for model in exported.values()}, mode)
    trained = load_trained(source, device="cpu")
    channels = trained.network.reading.channels
    pictures = drawn_pictures(channels, 1, [image_size or SIZES.get(task, USUAL)])
    (image,) = pictures.images
    made = [(source, f"torch {torch.__version__}, fp32", _torch_step(trained, task, image))]
    if compile:
        another = load_trained(source, device="cpu")
        _backbone(another).compile()
        made.append((source, "torch, compiled, fp32", _torch_step(another, task, image)))
    expected = made[0][2]()
    for peer, model in exported.items():
        description, name = _facts(model)
        step = _exported_step(model, image)
        _check(peer, task, expected, step(), pictures, description.precision)
        made.append((peer, f"{name}, {description.precision}", step))
    return _timed(made, rounds)


def _folder(peer: str) -> str:
    if not peer.startswith(PREFIX):
        raise UserError(
            f"--against {peer}: exports are compared with their checkpoint alone: give "
            f"{PREFIX}DIR for each of them."
        )
    return peer.removeprefix(PREFIX)


def _task(tasks: set[str], mode: str) -> str:
    """The one task of all exports."""
    if mode not in TASKS or len(tasks) != 1 or not tasks <= set(TASKS[mode]):
        fitting = next((name for name, known in TASKS.items() if tasks <= set(known)), None)
        hint = f"measure them by {fitting}" if fitting and len(tasks) == 1 else "name one task's"
        raise UserError(f"{mode} does not measure exports of {' and '.join(tasks)}: {hint}.")
    return tasks.pop()


def _facts(model: Model | Backbone) -> tuple[Description, str]:
    """The description of an exported model, and the name of its runtime."""
    owner = model if isinstance(model, Backbone) else model.network
    return owner.description, owner.session.name


def _exported_step(model: Model | Backbone, image: np.ndarray) -> Step:
    return (lambda: model(image)) if isinstance(model, Backbone) else _whole_step(model, image)


def _whole_step(model: Model, image: np.ndarray) -> Callable[[], Any]:
    return lambda: model(image, threshold=0)


def _torch_step(model: Model, task: str, image: np.ndarray) -> Callable[[], Any]:
    """From pixels to what the exports give."""
    if task != "backbone":
        return _whole_step(model, image)
    backbone, statistics = _backbone(model), model.network.model.data_preprocessor

    @torch.inference_mode()
    def step() -> list[np.ndarray]:
        pixels = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32))[None]
        return [found.numpy() for found in backbone((pixels - statistics.mean) / statistics.std)]

    return step


def _backbone(model: Model) -> nn.Module:
    network = model.network
    return network.trained.network if model.task == "classification" else network.model.backbone


def _check(
    peer: str, task: str, expected: Any, found: Any, pictures: Pictures, precision: str
) -> None:
    """Compares the results.

    Raises:
        UserError: Where they differ by more than an export may.
    """
    if task == "backbone":
        rows = compare_maps([expected], [found], precision)
    else:
        rows = COMPARE[task]([expected], [found], pictures, precision)
    if broken := [row for row in rows if not row.holds]:
        names = ", ".join(f"{row.what} {row.difference:.3g}" for row in broken)
        raise UserError(
            f"{peer} gives other results than the model in torch ({names}): name the checkpoint "
            "that it was exported from."
        )


def _timed(made: Sequence[tuple[str, str, Step]], rounds: int) -> list[Row]:
    steps = [step for _, _, step in made]
    counts = [warm_up(step, "cpu").count for step in steps]
    seconds = run_rounds(steps, counts, rounds, "cpu", PAUSE)
    summaries = summarise(1 / seconds)
    return [
        Row(name, how, summary) for (name, how, _), summary in zip(made, summaries, strict=True)
    ]


def format_table(rows: Sequence[Row], rounds: int) -> str:
    """The rows as text, with the ratio of each to torch."""
    cells = [("", "", "images/s", "quartiles", "ratio")]
    for row in rows:
        low, high = row.summary.quartiles
        speed = row.summary.images_per_s
        ratio = speed / rows[0].summary.images_per_s
        cells.append(
            (row.name, row.how, f"{speed:.2f}", f"{low:.2f} to {high:.2f}", f"{ratio:.3f}")
        )
    return "\n".join(
        [
            *format_columns(cells, "<<>>>"),
            f"{rounds} rounds, {torch.get_num_threads()} threads, {processor.describe()}; the "
            "ratio is of images/s to the first row.",
        ]
    )


def to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One dict for each row."""
    return [
        dict(
            name=row.name,
            how=row.how,
            images_per_s=row.summary.images_per_s,
            iqr=row.summary.iqr,
            ratio=row.summary.images_per_s / rows[0].summary.images_per_s,
        )
        for row in rows
    ]
