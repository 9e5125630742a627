"""The embedded data, checked from the files alone with pycocotools and OpenCV."""

import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from convnext_dense.data.shapes import dataset, drawing
from convnext_dense.data.shapes.dataset import CLASSES, prepare_shapes
from convnext_dense.errors import UserError

coco = pytest.importorskip("pycocotools.coco", reason="pycocotools reads the annotations here")

# The smallest set with an image of no shape in both splits.
COUNTS = {"train": 24, "val": 20, "cls_train": 2, "cls_val": 1}
TINY = {"train": 1, "val": 1, "cls_train": 1, "cls_val": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepare_shapes(tmp_path_factory.mktemp("data"), **COUNTS)


@pytest.fixture(scope="module", params=["train", "val"])
def split(request, folder):
    """(name, annotations read by pycocotools) of one split."""
    path = folder / "annotations" / f"instances_{request.param}.json"
    return request.param, coco.COCO(str(path))


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def masks_of(annotations, image_id) -> list[tuple[dict, np.ndarray]]:
    found = annotations.loadAnns(annotations.getAnnIds(image_id))
    return [(each, annotations.annToMask(each).astype(bool)) for each in found]


def test_pictures_are_the_listed_ones(folder, split):
    name, annotations = split
    images = annotations.dataset["images"]
    assert len(images) == COUNTS[name]
    assert {i["file_name"] for i in images} == {p.name for p in (folder / name).iterdir()}
    for image in images:
        pixels = cv2.imread(str(folder / name / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3)
        assert 160 <= min(pixels.shape[:2]) <= max(pixels.shape[:2]) <= 224
    assert len({(i["height"], i["width"]) for i in images}) > COUNTS[name] / 2


def test_boxes_and_areas_are_those_of_the_masks(split):
    _, annotations = split
    for image in annotations.dataset["images"]:
        for each, mask in masks_of(annotations, image["id"]):
            rows, columns = np.nonzero(mask)
            low, high = (columns.min(), rows.min()), (columns.max(), rows.max())
            box = [*low, high[0] - low[0] + 1, high[1] - low[1] + 1]
            assert mask.shape == (image["height"], image["width"])
            assert each["bbox"] == box
            assert each["area"] == mask.sum() >= 100
            assert each["iscrowd"] == 0


def test_masks_are_what_is_seen(split):
    """No pixel belongs to two shapes."""
    _, annotations = split
    for image in annotations.dataset["images"]:
        total = sum(mask.astype(int) for _, mask in masks_of(annotations, image["id"]))
        assert np.max(total, initial=0) <= 1


def test_labels_are_the_masks_of_each_class(folder, split):
    name, annotations = split
    for image in annotations.dataset["images"]:
        path = (folder / "labels" / name / image["file_name"]).with_suffix(".png")
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        expected = np.zeros((image["height"], image["width"]), np.uint8)
        for each, mask in masks_of(annotations, image["id"]):
            expected[mask] = each["category_id"]
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, expected)


def test_names_agree_in_all_tasks(folder, split):
    name, annotations = split
    names = [annotations.cats[k]["name"] for k in sorted(annotations.cats)]
    assert sorted(annotations.cats) == list(range(1, len(CLASSES) + 1))
    assert tuple(names) == CLASSES
    assert (folder / "classes.txt").read_text().splitlines() == ["background", *CLASSES]
    assert {path.name for path in (folder / "cls" / name).iterdir()} == set(CLASSES)


def test_every_class_and_an_empty_picture_are_there(split):
    _, annotations = split
    seen = [each["category_id"] for each in annotations.dataset["annotations"]]
    assert set(seen) == set(annotations.cats)
    ids = [each["id"] for each in annotations.dataset["annotations"]]
    assert min(ids) >= 1 and len(set(ids)) == len(ids)
    assert any(not annotations.getAnnIds(image) for image in annotations.imgs)


@pytest.mark.parametrize("split_name", ["train", "val"])
def test_class_folders(folder, split_name):
    for name in CLASSES:
        paths = sorted((folder / "cls" / split_name / name).iterdir())
        assert len(paths) == COUNTS[f"cls_{split_name}"]
        assert all(cv2.imread(str(path)).shape == (64, 64, 3) for path in paths)


def test_no_picture_is_there_twice(folder):
    pictures = [data for name, data in contents(folder).items() if name.endswith(".jpg")]
    wanted = 24 + 20 + (2 + 1) * len(CLASSES)
    assert len(pictures) == len(set(pictures)) == wanted


def test_a_shape_stays_recognisable():
    """Whatever is drawn over a shape leaves the part of its area that was asked for."""
    square = CLASSES.index("square")
    for seed in range(20):
        rng = np.random.default_rng(seed)
        picture = drawing.draw_image(rng, (96, 96), [square] * 8, radii=(20, 20), visible=0.7)
        areas = np.bincount(picture.owner.ravel())[1:]
        # A square of circumradius 20 has an area of 800; 4 % are left for the pixel grid.
        assert len(picture.classes) == len(areas) >= 2
        assert (areas >= 0.7 * 800).all() and (areas <= 1.04 * 800).all()
        assert areas.max() >= 0.96 * 800


def test_the_ring_has_its_hole():
    rng = np.random.default_rng(0)
    picture = drawing.draw_image(rng, (96, 96), [CLASSES.index("ring")], (30, 30), visible=1.0)
    rows, columns = np.nonzero(picture.owner)
    centre = round(rows.mean()), round(columns.mean())
    assert picture.owner[centre] == 0
    assert picture.owner.sum() == pytest.approx(np.pi * 30**2 * (1 - 0.55**2), rel=0.04)


def test_colour_does_not_tell_the_class():
    """The mean colour of a shape is nearest to its own class's centre about as often as chance."""
    count, colours = 40, []
    for index in range(len(CLASSES)):
        for number in range(count):
            rng = np.random.default_rng([7, index, number])
            picture = drawing.draw_image(rng, (64, 64), [index], radii=(14, 30), visible=0.9)
            colours.append(picture.image[picture.owner > 0].mean(axis=0))
    colours = np.array(colours).reshape(len(CLASSES), count, 1, 3)
    centres = colours[:, ::2].mean(axis=(1, 2))
    nearest = np.linalg.norm(colours[:, 1::2] - centres, axis=-1).argmin(axis=-1)
    hits = (nearest == np.arange(len(CLASSES))[:, None]).mean()
    assert hits < 1.7 / len(CLASSES)


def test_a_seed_gives_the_same_bytes_whatever_the_counts(folder, tmp_path):
    more = {name: count + 1 for name, count in COUNTS.items()}
    again = contents(prepare_shapes(tmp_path, **more))
    first = contents(folder)
    drawn = {name for name in first if name.endswith((".jpg", ".png"))}
    assert {name: first[name] for name in drawn} == {name: again[name] for name in drawn}


def test_the_same_request_gives_the_same_files_and_another_seed_others(tmp_path):
    first, again, other = (
        contents(prepare_shapes(tmp_path / name, seed, **TINY))
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first == again
    pictures = [name for name in first if name.endswith(".jpg")]
    assert pictures and all(first[name] != other[name] for name in pictures)


def test_a_complete_set_is_found_and_not_drawn_again(folder, monkeypatch):
    monkeypatch.setattr(dataset, "_draw", lambda *_: pytest.fail("drawn again"))
    assert prepare_shapes(str(folder.parent), **COUNTS) == folder


@pytest.mark.parametrize("asked", [{"seed": 1}, {"val": 21}])
def test_another_set_is_refused_and_kept(folder, asked):
    before = contents(folder)
    with pytest.raises(UserError, match="holds the dataset .* is asked for: remove"):
        prepare_shapes(folder.parent, **{**COUNTS, **asked})
    assert contents(folder) == before


@pytest.mark.parametrize("stamp", [None, "{"])
def test_a_foreign_folder_is_refused_and_kept(tmp_path, stamp):
    mine = tmp_path / "shapes" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("work of weeks")
    if stamp is not None:
        (tmp_path / "shapes" / "dataset.json").write_text(stamp)
    with pytest.raises(UserError, match="no readable dataset.json: move it away"):
        prepare_shapes(tmp_path, **TINY)
    assert mine.read_text() == "work of weeks"


def test_an_unwritable_data_root_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be .* choose another data root"):
        prepare_shapes(tmp_path / "file", **TINY)


@pytest.mark.parametrize("asked", [{"seed": -1}, {"val": 0}])
def test_senseless_requests_are_refused(tmp_path, asked):
    with pytest.raises(UserError, match="seed >= 0 and counts >= 1"):
        prepare_shapes(tmp_path, **asked)
    assert not list(tmp_path.iterdir())


def start(data_root, counts) -> subprocess.Popen:
    """Prepares the set in a process of its own."""
    code = f"from {dataset.__name__} import prepare_shapes as p; p({str(data_root)!r}, **{counts})"
    return subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])


def test_a_killed_process_leaves_nothing_half_done(tmp_path):
    process = start(tmp_path, {**TINY, "train": 100_000})
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".shapes-*/train/*.jpg")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert list(tmp_path.glob(".shapes-*/train/*.jpg"))
    assert not (tmp_path / "shapes").exists()
    folder = prepare_shapes(tmp_path, **TINY)
    assert json.loads((folder / "dataset.json").read_text())["train"] == 1
    assert len(list((folder / "train").iterdir())) == 1


def test_an_error_leaves_nothing_behind(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset, "_write_singles", full_disk)
    with pytest.raises(UserError, match="No space left on device"):
        prepare_shapes(tmp_path, **TINY)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_processes_at_once_end_with_one_complete_set(tmp_path):
    counts = {**TINY, "train": 20}
    processes = [start(tmp_path, counts) for _ in range(2)]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]
    assert len(list((tmp_path / "shapes" / "train").iterdir())) == 20


@pytest.mark.parametrize("seed", [0, 1])
def test_whoever_is_second_takes_the_firsts_set_if_it_is_the_same(tmp_path, monkeypatch, seed):
    """Another process (with the same or another seed) ends while this one is drawing."""
    write = dataset._write_singles

    def interrupted(*args):
        monkeypatch.setattr(dataset, "_write_singles", write)
        prepare_shapes(tmp_path, seed, **TINY)
        write(*args)

    monkeypatch.setattr(dataset, "_write_singles", interrupted)
    if seed == 0:
        assert prepare_shapes(tmp_path, 0, **TINY) == tmp_path / "shapes"
    else:
        with pytest.raises(UserError, match="'seed': 1"):
            prepare_shapes(tmp_path, 0, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]
