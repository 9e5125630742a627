"""Speed of the COCO evaluation beside pycocotools, on generated results.

Both sides go from what a test leaves, an annotation file and one dict of arrays a picture, to the
figures: ours by the metric of the detection configs, pycocotools as its demo has it.
"""

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mmengine.logging import MessageHub, MMLogger
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from convnext_dense.benchmark.synthetic_coco import CATEGORY_IDS, Generated, generate
from convnext_dense.benchmark.timing import Summary, run_rounds, summarise
from convnext_dense.detection.coco_eval import SUMMARY
from convnext_dense.detection.coco_metric import TASKS, CocoInstanceMetric, to_coco
from convnext_dense.errors import UserError

PICTURES, ROUNDS = 5000, 3  # COCO val2017; a round takes a minute or two
TOLERANCE = 1e-6
NAMES = ("convnext_dense", "pycocotools")


@dataclass(frozen=True)
class Evaluation(Summary):
    """One side's figures of one task.

    Attributes:
        name: A name in ``NAMES``.
        mode: ``evaluation bbox`` or ``evaluation segm``.
        batch_size: Pictures that are evaluated together.
        peak_memory_mb: Not measured: None.
        map: What both sides found.
    """

    name: str
    mode: str
    batch_size: int
    peak_memory_mb: None
    map: float


def measure(pictures: int = PICTURES, rounds: int = ROUNDS) -> list[Evaluation]:
    """Checks that both sides give the same figures, then times them in turns.

    Args:
        pictures: Number of generated pictures.
        rounds: Number of interleaved rounds.

    Returns:
        Ours and pycocotools' row of boxes, then of masks.

    Raises:
        UserError: For figures that differ by more than ``TOLERANCE``.
    """
    for name, value in (("pictures", pictures), ("rounds", rounds)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, got {value}.")
    made = generate(pictures)
    with TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "truth.json"
        file.write_text(json.dumps(made.truth))
        return [row for task in TASKS for row in _compare(made, file, task, rounds)]


def _compare(made: Generated, file: Path, task: str, rounds: int) -> list[Evaluation]:
    pictures = len(made.results)
    results = made.results
    if task == "bbox":
        results = [{**result, "masks": None} for result in results]
    sides = (
        lambda: ours(results, file, made.classes, task),
        lambda: pycocotools(results, file, task),
    )
    figures = [side() for side in sides]
    check(*figures, task)
    rates = pictures / run_rounds(sides, [1, 1], rounds, "cpu")
    return [
        Evaluation(
            **asdict(summary),
            name=name,
            mode=f"evaluation {task}",
            batch_size=pictures,
            peak_memory_mb=None,
            map=float(figures[0][0]),
        )
        for name, summary in zip(NAMES, summarise(rates), strict=True)
    ]


def ours(results: list[dict], file: Path, classes: tuple[str, ...], task: str) -> np.ndarray:
    """The twelve figures and each class's AP by the metric of the detection configs, (12 + K)."""
    metric = CocoInstanceMetric(str(file), task)
    metric.dataset_meta = {"classes": classes}
    figures = metric.compute_metrics(results)
    per_class = MessageHub.get_current_instance().get_info("per_class")
    values = [figures[f"{task}_{name}"] for name in SUMMARY]
    return np.array(values + [per_class[name][f"{task}_mAP"] for name in classes], dtype=float)


def pycocotools(results: list[dict], file: Path, task: str) -> np.ndarray:
    """The same by pycocotools."""
    detections = [one for result in results for one in to_coco(result, CATEGORY_IDS)]
    if task == "segm":
        for one in detections:
            del one["bbox"]  # or the areas would be the boxes'
    coco = COCO(file)
    evaluation = COCOeval(coco, coco.loadRes(detections), task)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    some = np.ma.masked_less(precision, 0).mean(axis=(0, 1))
    return np.concatenate([evaluation.stats, some.filled(np.nan)])


def check(mine: np.ndarray, oracle: np.ndarray, task: str) -> None:
    """Compares figures; NaN equals NaN.

    Raises:
        UserError: For figures that differ by more than ``TOLERANCE``.
    """
    if not np.allclose(mine, oracle, rtol=0, atol=TOLERANCE, equal_nan=True):
        raise UserError(
            f"Our {task} figures differ from pycocotools' by up to "
            f"{np.nanmax(np.abs(mine - oracle)):.2g}, so their speeds are not comparable: "
            "compare the versions of faster-coco-eval and pycocotools with requirements/."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps both sides' tables from the screen."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def format_table(found: list[Evaluation]) -> str:
    """A plain table, a line a row."""
    lines = [f"{'':34}  pictures/s  (quartiles)         ratio     mAP"]
    for one in found:
        low, high = one.quartiles
        lines.append(
            f"{one.name + ', ' + one.mode:34}  {one.images_per_s:10.2f}  "
            f"{f'({low:.2f} to {high:.2f})':18}  {one.ratio:5.2f}  {one.map:6.4f}"
        )
    lines.append(
        f"{found[0].batch_size} generated pictures, from results to figures; all figures equal to "
        f"{TOLERANCE:g}. The ratio is of pictures/s to pycocotools."
    )
    return "\n".join(lines)
