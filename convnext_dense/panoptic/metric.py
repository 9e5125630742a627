"""The metric of the panoptic configs: panoptic quality, of things, of stuff, and per class."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub, print_log
from mmengine.registry import METRICS

from convnext_dense.atomic_files import make_folder, write_atomically
from convnext_dense.data.panoptic.annotation_file import PanopticImage, read_panoptic
from convnext_dense.data.panoptic.segments import VOID, read_segments, write_segments
from convnext_dense.panoptic.quality import (
    Segments,
    compare_segments,
    mean_quality,
    quality_of_classes,
)
from convnext_dense.runs.console import short_table
from convnext_dense.text_table import format_columns

FIGURES = ("PQ", "SQ", "RQ")
PARTS = {"": "classes", "_th": "thing_classes", "_st": "stuff_classes"}  # entries of the metainfo


@METRICS.register_module()
class PanopticQualityMetric(BaseMetric):
    """Panoptic quality as COCO defines it.

    Figures from 0 to 1: ``PQ``, ``SQ`` and ``RQ``, the means over the classes that occur, and the
    same of things (``PQ_th``) and of stuff (``PQ_st``). Those of each class go to the message hub
    as ``per_class`` and from there into ``metrics.json``. An image is compared when it is
    predicted, so that no prediction waits in memory.

    Args:
        ann_file: COCO panoptic file; the engine fills in that of the evaluated dataset.
        segments: Folder of its PNGs; filled in too.
        outfile: Also write the results in COCO's format to this file, and their PNGs into a folder
            of its name without the ending.
        collect_device: As in mmengine.
        prefix: Prefix of the figures' names.
    """

    default_prefix = "coco_panoptic"

    def __init__(
        self,
        ann_file: str,
        segments: str,
        outfile: str | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ann_file, self.segments = ann_file, segments
        self.outfile = None if outfile is None else Path(outfile)

    @staticmethod
    def figure_names(settings: Mapping[str, Any], num_classes: int | None) -> list[str]:
        """The figures of an evaluator, without prefix, the main one first."""
        return [f"{figure}{part}" for part in PARTS for figure in FIGURES]

    @cached_property
    def _images(self) -> dict[int, PanopticImage]:
        return {image.id: image for image in read_panoptic(self.ann_file).images}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Compares the predictions of one batch with their truth."""
        classes = self.dataset_meta["classes"]
        for sample in data_samples:
            image = self._images[sample["img_id"]]
            found = sample["pred_panoptic_seg"]["sem_seg"][0].cpu().numpy()
            predicted = to_segments(found, len(classes))
            counts = None
            if image.png is not None:
                truth = self._truth(image, classes)
                counts = compare_segments(truth, predicted, len(classes))
            entry = self._write(image, predicted) if self.outfile else None
            self.results.append((counts, entry))

    def _truth(self, image: PanopticImage, classes: Sequence[str]) -> Segments:
        """The true segments of an image; those of other classes belong to none."""
        ids = read_segments(os.path.join(self.segments, image.png))
        known = [segment for segment in image.segments if segment.category in classes]
        if len(known) < len(image.segments):
            ids[~np.isin(ids, [segment.id for segment in known])] = VOID
        return Segments(
            ids,
            {segment.id: classes.index(segment.category) for segment in known},
            frozenset(segment.id for segment in known if segment.is_crowd),
        )

    def _write(self, image: PanopticImage, predicted: Segments) -> dict[str, Any]:
        """Writes the PNG of a prediction; returns its entry in COCO's results."""
        name = image.png or f"{os.path.splitext(image.file_name)[0]}.png"
        path = self.outfile.with_suffix("") / name
        make_folder(path.parent)
        write_segments(path, predicted.ids)
        classes, numbers = self.dataset_meta["classes"], read_panoptic(self.ann_file).category_ids
        segments = [
            dict(id=number, category_id=numbers[classes[label]])
            for number, label in predicted.labels.items()
        ]
        return dict(image_id=image.id, file_name=name, segments_info=segments)

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """The figures of all images."""
        if self.outfile:
            entries = [entry for _, entry in results]
            write_atomically(self.outfile, json.dumps(dict(annotations=entries)))
        compared = [counts for counts, _ in results if counts is not None]
        if not compared:
            print_log(f"{self.ann_file} has no annotations: there are no figures.", "current")
            return {}
        classes = list(self.dataset_meta["classes"])
        quality = quality_of_classes(np.sum(compared, axis=0))
        per_class = {
            name: {key: _none_if_nan(value) for key, value in zip(FIGURES, row, strict=True)}
            for name, row in zip(classes, quality.tolist(), strict=True)
        }
        MessageHub.get_current_instance().update_info("per_class", per_class)
        print_log(short_table(format_per_class(per_class)), logger="current")
        return {
            f"{figure}{part}": value
            for part, names in PARTS.items()
            for figure, value in zip(
                FIGURES,
                mean_quality(
                    quality[[classes.index(n) for n in self.dataset_meta[names]]]
                ).tolist(),
                strict=True,
            )
        }


def to_segments(found: np.ndarray, num_classes: int) -> Segments:
    """The segments of mmdet's result, whose pixels hold label + 1000 x number of the instance.

    The label that comes after the last class means no segment.
    """
    codes, places = np.unique(found, return_inverse=True)
    labels, ids = {}, np.zeros(len(codes), np.int32)
    for place, code in enumerate(codes.tolist()):
        if (label := code % INSTANCE_OFFSET) < num_classes:
            ids[place] = len(labels) + 1
            labels[len(labels) + 1] = label
    return Segments(ids[places].reshape(found.shape), labels)


def format_per_class(per_class: dict[str, dict[str, float | None]]) -> str:
    """A text table of the classes that occur."""
    rows = [
        (name, *(f"{value:.3f}" for value in row.values()))
        for name, row in per_class.items()
        if row["PQ"] is not None
    ]
    if not rows:
        return "Panoptic quality per class: no class occurs in these images."
    lines = format_columns([("class", *FIGURES), *rows], "<>>>")
    return "Panoptic quality per class\n" + "\n".join(lines)


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
