"""Speed of the COCO evaluation compared with pycocotools, on generated results.

Both start from the results of a test, an annotation file and one dict of arrays per image, and end
with the metrics: ours as in the detection configs, pycocotools as in its demo.
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

from convnext_dense.benchmark.synthetic_coco import CATEGORY_IDS, SyntheticCoco, generate
from convnext_dense.benchmark.timing import Summary, run_rounds, summarise
from convnext_dense.detection.coco_eval import SUMMARY
from convnext_dense.detection.coco_metric import TASKS, CocoInstanceMetric, to_coco
from convnext_dense.errors import UserError

PICTURES, ROUNDS = 5000, 3  # images as in COCO val2017; a round takes a minute or two
TOLERANCE = 1e-6
NAMES = ("convnext_dense", "pycocotools")


@dataclass(frozen=True)
class Evaluation(Summary):
    """The speed of one implementation for one task.

    Attributes:
        name: A name in ``NAMES``.
        mode: ``evaluation bbox`` or ``evaluation segm``.
        batch_size: Number of images that are evaluated together.
        peak_memory_mb: Not measured: None.
        map: The mAP, the same of both.
    """

    name: str
    mode: str
    batch_size: int
    peak_memory_mb: None
    map: float


def measure(images: int = PICTURES, rounds: int = ROUNDS) -> list[Evaluation]:
    """Checks that both give the same metrics, then times them in interleaved rounds.

    Args:
        images: Number of generated images.
        rounds: Number of interleaved rounds.

    Returns:
        Our row and pycocotools' of boxes, then those of masks.

    Raises:
        UserError: For metrics that differ by more than ``TOLERANCE``.
    """
    for name, value in (("pictures", images), ("rounds", rounds)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, got {value}.")
    data = generate(images)
    with TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "truth.json"
        file.write_text(json.dumps(data.ground_truth))
        return [row for task in TASKS for row in _compare(data, file, task, rounds)]


def _compare(data: SyntheticCoco, file: Path, task: str, rounds: int) -> list[Evaluation]:
    images, results = len(data.results), data.results
    if task == "bbox":
        results = [{**result, "masks": None} for result in results]
    evaluations = (
        lambda: evaluate_with_ours(results, file, data.classes, task),
        lambda: evaluate_with_pycocotools(results, file, task),
    )
    metrics = [evaluate() for evaluate in evaluations]
    check_metrics(*metrics, task)
    images_per_s = images / run_rounds(evaluations, [1, 1], rounds, "cpu")
    return [
        Evaluation(
            **asdict(summary),
            name=name,
            mode=f"evaluation {task}",
            batch_size=images,
            peak_memory_mb=None,
            map=float(metrics[0][0]),
        )
        for name, summary in zip(NAMES, summarise(images_per_s), strict=True)
    ]


def evaluate_with_ours(
    results: list[dict], file: Path, classes: tuple[str, ...], task: str
) -> np.ndarray:
    """The twelve metrics and each class's AP by the metric of the detection configs, (12 + K)."""
    metric = CocoInstanceMetric(str(file), task)
    metric.dataset_meta = {"classes": classes}
    metrics = metric.compute_metrics(results)
    per_class = MessageHub.get_current_instance().get_info("per_class")
    values = [metrics[f"{task}_{name}"] for name in SUMMARY]
    return np.array(values + [per_class[name][f"{task}_mAP"] for name in classes], dtype=float)


def evaluate_with_pycocotools(results: list[dict], file: Path, task: str) -> np.ndarray:
    """The same by pycocotools."""
    detections = [detection for result in results for detection in to_coco(result, CATEGORY_IDS)]
    if task == "segm":
        for detection in detections:
            del detection["bbox"]  # otherwise the areas would be those of the boxes
    coco = COCO(file)
    evaluation = COCOeval(coco, coco.loadRes(detections), task)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    per_class = np.ma.masked_less(precision, 0).mean(axis=(0, 1))
    return np.concatenate([evaluation.stats, per_class.filled(np.nan)])


def check_metrics(ours: np.ndarray, reference: np.ndarray, task: str) -> None:
    """Compares metrics; NaN equals NaN.

    Raises:
        UserError: For metrics that differ by more than ``TOLERANCE``.
    """
    if not np.allclose(ours, reference, rtol=0, atol=TOLERANCE, equal_nan=True):
        raise UserError(
            f"Our {task} metrics differ from pycocotools' by up to "
            f"{np.nanmax(np.abs(ours - reference)):.2g}, so their speeds are not comparable: "
            "compare the versions of faster-coco-eval and pycocotools with requirements/."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses both implementations' tables."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def format_table(rows: list[Evaluation]) -> str:
    """A plain table, one line per row."""
    lines = [f"{'':34}    images/s  (quartiles)         ratio     mAP"]
    for row in rows:
        low, high = row.quartiles
        lines.append(
            f"{row.name + ', ' + row.mode:34}  {row.images_per_s:10.2f}  "
            f"{f'({low:.2f} to {high:.2f})':18}  {row.ratio:5.2f}  {row.map:6.4f}"
        )
    lines.append(
        f"{rows[0].batch_size} generated images, from results to metrics; all metrics are equal to "
        f"{TOLERANCE:g}. The ratio is of images/s to pycocotools."
    )
    return "\n".join(lines)
