"""Panoptic quality against panopticapi's computation, of which mmdet has a copy."""

from collections import defaultdict
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmdet.evaluation.functional import panoptic_utils

from convnext_dense.panoptic.metric import to_segments
from convnext_dense.panoptic.quality import (
    Segments,
    compare_segments,
    mean_quality,
    quality_of_classes,
)

CLASSES, IMAGES = 5, 12
VOID = 0


def random_segments(rng: np.random.Generator, blobs: int, crowds: bool) -> Segments:
    """Rectangles of random classes over nothing; of a class at most one is a crowd."""
    ids, labels = np.zeros((40, 60), np.int64), {}
    for number in rng.choice(np.arange(1, 16_777_216), blobs, replace=False).tolist():
        top, left = rng.integers(0, 30), rng.integers(0, 45)
        ids[top : top + rng.integers(6, 30), left : left + rng.integers(6, 40)] = number
        labels[number] = int(rng.integers(CLASSES))
    left = set(np.unique(ids).tolist())
    labels = {number: label for number, label in labels.items() if number in left}
    some = {label: number for number, label in labels.items() if rng.random() < 0.3}
    return Segments(ids, labels, frozenset(some.values() if crowds else ()))


def moved(rng: np.random.Generator, truth: Segments) -> Segments:
    """The truth as a model may find it: shifted, relabelled, partly missing."""
    ids = np.roll(truth.ids, rng.integers(-3, 4, 2), (0, 1))
    labels = {
        number: label if rng.random() < 0.8 else int(rng.integers(CLASSES))
        for number, label in truth.labels.items()
        if (ids == number).any()
    }
    for number in list(labels):
        if rng.random() < 0.2:
            ids[ids == number] = VOID
            del labels[number]
    return Segments(ids, labels)


def cases() -> list[tuple[Segments, Segments]]:
    rng = np.random.default_rng(4)
    found = []
    for number in range(IMAGES):
        truth = random_segments(rng, 9, crowds=True)
        found.append((truth, moved(rng, truth) if number % 4 else random_segments(rng, 6, False)))
    return found


def write(path, ids: np.ndarray) -> None:
    colours = np.stack([ids // 65536, ids // 256 % 256, ids % 256], axis=-1)  # blue, green, red
    cv2.imwrite(str(path), colours.astype(np.uint8))


def entry(segments: Segments, name: str) -> dict:
    info = [
        dict(
            id=number,
            category_id=label,
            iscrowd=int(number in segments.crowds),
            area=int((segments.ids == number).sum()),
        )
        for number, label in segments.labels.items()
    ]
    return dict(image_id=0, file_name=name, segments_info=info)


def test_counts_are_panopticapis(tmp_path, monkeypatch):
    def pq_stat():
        return defaultdict(lambda: SimpleNamespace(tp=0, fp=0, fn=0, iou=0.0))

    def ids_of(colours):
        red, green, blue = np.moveaxis(colours.astype(np.uint32), -1, 0)
        return red + 256 * green + 65536 * blue

    monkeypatch.setattr(panoptic_utils, "PQStat", pq_stat)
    monkeypatch.setattr(panoptic_utils, "rgb2id", ids_of)
    categories = {label: {} for label in range(CLASSES)}
    for side in ("truth", "found"):
        (tmp_path / side).mkdir()
    totals = np.zeros((CLASSES, 4))
    for number, (truth, found) in enumerate(cases()):
        name = f"{number}.png"
        write(tmp_path / "truth" / name, truth.ids)
        write(tmp_path / "found" / name, found.ids)
        theirs = panoptic_utils.pq_compute_single_core(
            0, [(entry(truth, name), entry(found, name))],
            str(tmp_path / "truth"), str(tmp_path / "found"), categories,
        )  # fmt: skip
        wanted = [[theirs[c].tp, theirs[c].fp, theirs[c].fn, theirs[c].iou] for c in categories]
        counts = compare_segments(truth, found, CLASSES)
        assert counts == pytest.approx(np.array(wanted, float), abs=1e-12)
        totals += counts
    assert (totals > 0).all()  # each column of each class was tried


def test_what_is_void_or_crowd_is_not_rated():
    truth = Segments(np.repeat([[7, 9, 0, 0]], 4, axis=0), {7: 0, 9: 1}, frozenset({9}))
    on_crowd = Segments(np.repeat([[0, 3, 4, 4]], 4, axis=0), {3: 1, 4: 0})
    assert compare_segments(truth, on_crowd, 2).tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]
    over_void = Segments(np.repeat([[5, 0, 5, 0]], 4, axis=0), {5: 0})
    assert compare_segments(truth, over_void, 2).tolist() == [[1, 0, 0, 1], [0, 0, 0, 0]]


def test_half_is_no_match():
    truth = Segments(np.array([[1, 1, 1, 1, 2]]), {1: 0, 2: 1})
    found = Segments(np.array([[1, 1, 2, 2, 2]]), {1: 0, 2: 1})  # IoU 0.5 and 0.33
    assert compare_segments(truth, found, 2)[:, 0].tolist() == [0, 0]
    assert compare_segments(truth, Segments(np.array([[1, 1, 1, 2, 2]]), {1: 0, 2: 1}), 2)[0, 0]


def test_figures_by_hand():
    counts = np.array([[2, 1, 1, 1.6], [0, 3, 0, 0], [0, 0, 0, 0]])  # tp, fp, fn, sum of IoU
    quality = quality_of_classes(counts)
    assert quality[0] == pytest.approx([1.6 / 3, 0.8, 2 / 3])
    assert quality[1].tolist() == [0, 0, 0]
    assert np.isnan(quality[2]).all()  # does not occur: in no mean
    assert mean_quality(quality) == pytest.approx([0.8 / 3, 0.4, 1 / 3])
    assert np.isnan(mean_quality(quality[2:])).all()


def test_codes_of_mmdet_become_segments():
    codes = np.array([[1001, 2001, 5], [5, 7, 7]])  # two instances of class 1, stuff, nothing
    found = to_segments(codes, 7)
    assert list(found.labels.values()) == [5, 1, 1]
    assert found.ids.tolist() == [[2, 3, 1], [1, 0, 0]]
