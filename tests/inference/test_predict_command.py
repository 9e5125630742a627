"""The command: which word is what, files of images and videos, stops and refusals."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from convnext_dense.cli.main import make_parser
from convnext_dense.cli.predict import DEFAULT_MODEL, Job, split_words, unique_names, unique_stems
from convnext_dense.errors import UserError
from convnext_dense.inference.base_result import Legend
from convnext_dense.inference.output.formats import FORMATS
from convnext_dense.inference.results import ClassificationResult
from convnext_dense.inference.sources import SourceImage, images
from tests.miniature import SHAPES
from tests.running import ROOT, run


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("street.jpg", (DEFAULT_MODEL, None, ["street.jpg"])),
        ("a.jpg b.png", (DEFAULT_MODEL, None, ["a.jpg", "b.png"])),
        ("0", (DEFAULT_MODEL, None, ["0"])),
        ("work_dirs/birds street.jpg", ("work_dirs/birds", None, ["street.jpg"])),
        ("work_dirs/birds folder", ("work_dirs/birds", None, ["folder"])),
        ("hf:a/b a.jpg b.jpg c.mp4", ("hf:a/b", None, ["a.jpg", "b.jpg", "c.mp4"])),
        ("c.py x.pth street.jpg", ("x.pth", "c.py", ["street.jpg"])),
        ("c.py work_dirs/birds folder", ("work_dirs/birds", "c.py", ["folder"])),
        ("cascade_convnext_t_3x 0", ("cascade_convnext_t_3x", None, ["0"])),
    ],
)
def test_which_word_is_what(words, expected):
    assert split_words(words.split()) == expected


def test_a_model_alone_is_named(work_dirs):
    for word in ("c.py", "x.pth", "hf:a/b", str(work_dirs["detection"])):
        with pytest.raises(UserError, match="is a model: name images"):
            split_words([word])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("gone.jpg", "There is no image or folder gone.jpg"),
        ("gone/*.jpg", "No file matches gone/*.jpg"),
        (".", "holds no image"),
    ],
)
def test_a_source_that_is_not_there_is_named_before_a_model_is_loaded(source, words, tmp_path):
    output = run("predict", "gone.pth", source, cwd=tmp_path, code=2)
    assert words in output and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--probabilities", "are a segmentor's and a classifier's"),
        ("--whole", "belongs to tile"),
    ],
)
def test_flags_that_do_not_fit_the_model_leave_no_folder(
    flag, words, work_dirs, pictures, tmp_path
):
    output = run("predict", work_dirs["detection"], pictures[0], flag, cwd=tmp_path, code=2)
    assert words in output and list(tmp_path.iterdir()) == []


def test_files_never_share_a_name():
    assert unique_stems(["x/a.jpg", "x/b.png"]) == {"x/a.jpg": "a", "x/b.png": "b"}
    assert unique_stems(["a.jpg", "a.png"]) == {"a.jpg": "a.jpg", "a.png": "a.png"}
    found = unique_stems(["x/a.jpg", "y/a.jpg", "y/a.png", "z/b.jpg", "0"])
    assert len(set(found.values())) == 5 and found["0"] == "camera_0"
    assert unique_stems(["x/a.jpg", "x/y/a.jpg"]) == {"x/a.jpg": "a", "x/y/a.jpg": "y/a"}
    assert unique_names(["x/a.jpg", "x/b.jpg"]) == {"x/a.jpg": "a.jpg", "x/b.jpg": "b.jpg"}
    assert unique_names(["x/a.jpg", "z/y/a.jpg"]) == {
        "x/a.jpg": "x/a.jpg",
        "z/y/a.jpg": "z/y/a.jpg",
    }


def test_the_flags_are_those_of_the_formats():
    args = make_parser().parse_args(["predict", "a.jpg", "--threshold", "best"])
    assert (args.threshold, args.batch_size, args.format) == ("best", 1, "json")
    from convnext_dense.cli.flags.predict import FORMATS as NAMES

    assert tuple(FORMATS) == NAMES


def test_a_folder_with_unreadable_images(work_dirs, pictures, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, source in (("a.jpg", pictures[0]), ("b.png", pictures[1])):
        Image.open(source).save(folder / name)
    (folder / "bad.jpg").write_bytes(b"no image")
    Image.fromarray(np.zeros((1000, 1, 3), np.uint8)).save(folder / "thin.png")
    more = ["--out", tmp_path / "out", "--threshold", 0, "--format", "coco", "--batch-size", 3]
    output = run("predict", work_dirs["detection"], folder, *more, code=2)
    assert "2 images were left out" in output and "bad.jpg cannot be read" in output
    assert "too thin" in output and "in 2 images" in output
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a.jpg", "annotations.json", "b.jpg"]
    content = json.loads((tmp_path / "out/annotations.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["a.jpg", "b.png"]
    assert {a["image_id"] for a in content["annotations"]} == {1, 2}


@pytest.fixture
def video(pictures, tmp_path):
    """Six frames of 5 a second."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (96, 64))
    for picture in pictures[:6]:
        writer.write(cv2.resize(cv2.imread(str(picture)), (96, 64)))
    writer.release()
    return path


def test_a_video_becomes_a_video_and_lines(work_dirs, video, pictures, tmp_path):
    output = run("predict", work_dirs["segmentation"], video, pictures[0], cwd=tmp_path)
    assert "in 7 images: predictions/clip" in output
    out = tmp_path / "predictions/clip"
    assert sorted(path.name for path in out.iterdir()) == [
        f"{pictures[0].stem}.jpg", f"{pictures[0].stem}_labels.png", "clip.jsonl", "clip.mp4",
        "predictions.json",
    ]  # fmt: skip
    lines = [json.loads(line) for line in (out / "clip.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(6))
    assert [line["seconds"] for line in lines] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(line["file_name"] == "clip.avi" and line["shares"] for line in lines)
    assert [frame.array.shape for frame in images(out / "clip.mp4")] == [(64, 96, 3)] * 6
    # with another format too
    run("predict", work_dirs["segmentation"], video, "--out", tmp_path / "c", "--format", "csv")
    rows = (tmp_path / "c/predictions.csv").read_text().splitlines()
    assert rows[0] == "file_name,frame,seconds,class,share" and rows[-1].startswith(
        "clip.avi,5,1.0"
    )
    more = ["--probabilities", "--out", tmp_path / "d"]
    output = run("predict", work_dirs["segmentation"], video, *more, code=2)
    assert "--probabilities is for images" in output and not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    "name", ["labelme", *(pytest.param(name, marks=pytest.mark.slow) for name in ("coco", "yolo"))]
)
def test_annotation_tools_find_the_images(name, work_dirs, video, pictures, tmp_path):
    """Of one name in two folders, and the frames of a video."""
    for folder, picture in (("in/a", pictures[0]), ("in/b", pictures[1])):
        (tmp_path / folder).mkdir(parents=True)
        Image.open(picture).save(tmp_path / folder / "x.jpg")
    out, sources = tmp_path / "out", [tmp_path / "in/a/x.jpg", tmp_path / "in/b/x.jpg", video]
    run("predict", work_dirs["detection"], *sources, "--out", out, "--format", name)
    frames = [f"clip_{number:06d}" for number in range(6)]
    for frame, expected in zip(frames, images(video), strict=True):
        found = np.asarray(Image.open(out / f"{frame}.jpg"), np.int16)
        assert np.abs(found - expected.array).mean() < 12
    if name == "labelme":
        files = [*out.glob("in/?/x.json"), *(out / f"{frame}.json" for frame in frames)]
        named = [(file, json.loads(file.read_text())["imagePath"]) for file in files]
        assert len(named) == 8 and all((file.parent / path).is_file() for file, path in named)
    elif name == "coco":
        content = json.loads((out / "annotations.json").read_text())
        names = [image["file_name"] for image in content["images"]]
        assert names == ["in/a/x.jpg", "in/b/x.jpg", *(f"{frame}.jpg" for frame in frames)]
    else:
        labels = {str(path.relative_to(out / "labels")) for path in out.glob("labels/**/*.txt")}
        assert labels == {"in/a/x.txt", "in/b/x.txt", *(f"{frame}.txt" for frame in frames)}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_video_run_leaves_no_video(number, work_dirs, pictures, tmp_path):
    path = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 64))
    frame = cv2.resize(cv2.imread(str(pictures[0])), (64, 64))
    for _ in range(3000):
        writer.write(frame)
    writer.release()
    command = [sys.executable, "-m", "convnext_dense", "predict", work_dirs["segmentation"], path]
    process = subprocess.Popen(
        [*map(str, command), "--out", str(tmp_path / "out")], cwd=ROOT,
        env=os.environ | dict(OMP_NUM_THREADS="1"), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 200
        while not list((tmp_path / "out").glob(".long.jsonl.*")) and time.monotonic() < until:
            assert process.poll() is None
            time.sleep(0.2)
        time.sleep(0.5)
        process.send_signal(number)
        code = process.wait(timeout=60)
    finally:
        process.kill()
    assert code == (143 if number == signal.SIGTERM else -9)
    left = [name.name for name in (tmp_path / "out").iterdir() if not name.name.startswith(".")]
    assert left == []
    if number == signal.SIGTERM:
        assert list((tmp_path / "out").iterdir()) == []


def test_the_old_form_and_probabilities(work_dirs, pictures, tmp_path):
    config = SHAPES.parents[1] / "segmentation/upernet_convnext_a_shapes.py"
    arguments = [config, work_dirs["segmentation"], pictures[0], "--out", tmp_path / "out"]
    run("predict", *arguments, "--probabilities")
    (entry,) = json.loads((tmp_path / "out/predictions.json").read_text())
    assert set(entry) == {"file_name", "shares"} and entry["file_name"] == pictures[0].name
    stem = tmp_path / "out" / pictures[0].stem
    labels = cv2.imread(f"{stem}_labels.png", cv2.IMREAD_UNCHANGED)
    with np.load(f"{stem}_probabilities.npz") as stored:
        probabilities = stored["probabilities"]
    assert probabilities.shape == (7, *labels.shape)
    best = np.take_along_axis(probabilities, labels[None].astype(int), axis=0)[0]
    assert (best >= probabilities.max(axis=0) - 2e-3).all()
    output = run("predict", *arguments[:-2], "--out", pictures[0].parent, code=2)
    assert "--out would overwrite" in output


def test_a_camera_is_ended_by_ctrl_c_and_what_it_showed_is_kept(tmp_path, monkeypatch):
    frame = np.full((48, 64, 3), 90, np.uint8)

    class Camera:
        def isOpened(self):
            return True

        def get(self, what):
            return 0.0

        def release(self):
            pass

    class Stopped:
        task, classes = "classification", ("ant", "bee")

        def predict(self, source, **options):
            assert source == 0
            for number in range(3):
                image = SourceImage(frame, "camera_0", None, number, number / 25)
                yield ClassificationResult(image, Legend(self.classes), np.array([0.3, 0.7]))
            raise KeyboardInterrupt

    args = make_parser().parse_args(["predict", "0"])
    job = Job(Stopped(), args, tmp_path, {})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cv2, "VideoCapture", lambda number: Camera())
        job.run({}, {"0": "camera_0"})
    lines = [json.loads(line) for line in (tmp_path / "camera_0.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2]
    assert lines[0]["classes"][0]["class"] == "bee"
    assert len(list(images(tmp_path / "camera_0.mp4"))) == 3
    assert job.summary() == "1 class in 3 frames"
