"""Every form of an image becomes the same RGB array, lazily and in order, or a sentence."""

import http.server
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from convnext_dense.errors import UserError
from convnext_dense.inference.arrays import from_array
from convnext_dense.inference.sources import images, open_video

RGB = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
GREY = RGB[..., 0]
THREE = np.repeat(GREY[..., None], 3, axis=2)


def arrays(source, **options) -> list[np.ndarray]:
    return [image.array for image in images(source, **options)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (RGB, RGB),
        (GREY, THREE),
        (GREY[..., None], THREE),
        (np.concatenate([RGB, GREY[..., None]], axis=2), RGB),
        (RGB.astype(np.uint16) * 257, RGB),
        (RGB.astype(np.float32) / 255, RGB),
        (RGB / 255, RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1), RGB),
        ((torch.from_numpy(RGB).permute(2, 0, 1) / 255).half(), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1)[None], RGB),
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(GREY), THREE),
        (Image.fromarray(GREY.astype(np.uint16) * 257), THREE),
        (Image.fromarray(np.concatenate([RGB, GREY[..., None]], axis=2)), RGB),
        (RGB[::-1, ::-1], RGB[::-1, ::-1]),
    ],
)
def test_every_form_is_one_rgb_array(source, expected):
    (found,) = arrays(source)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (RGB.astype(np.int64), "int64 (12, 17, 3)"),
        (RGB.astype(np.float32), "float32 (12, 17, 3) with values from 0 to 255"),
        (np.full((4, 4, 3), np.nan), "float64 (4, 4, 3) with values from nan to nan"),
        (RGB > 9, "bool (12, 17, 3)"),
        (RGB.transpose(2, 0, 1), "uint8 (3, 12, 17); an image is uint8, uint16, or float"),
        (RGB.transpose(2, 0, 1), "give array.transpose(1, 2, 0)"),
        (RGB[None], "uint8 (1, 12, 17, 3)"),
        (RGB[:0], "uint8 (0, 17, 3)"),
        (np.zeros((4, 4, 2), np.uint8), "uint8 (4, 4, 2)"),
        (np.array(["a"], dtype=object), "object (1,)"),
        (torch.from_numpy(RGB), "a tensor of uint8 (12, 17, 3): a tensor has its channels first"),
        (torch.from_numpy(GREY), "a tensor of uint8 (12, 17)"),
        (b"abc", "A source of type bytes is none of: path, glob"),
        (None, "A source of type NoneType"),
        ({"a": 1}, "A source of type dict"),
        (True, "A source of type bool"),
        (97, "There is no camera 97"),
        ("nowhere.jpg", "There is no image nowhere.jpg"),
        ("nowhere.mp4", "There is no video nowhere.mp4"),
        ("nowhere/*.jpg", "No file matches nowhere/*.jpg"),
        ("http://example.org/a.jpg", "https"),
    ],
)
def test_what_is_no_image_is_a_sentence(source, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        arrays(source)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_bgr_only_where_it_is_said():
    np.testing.assert_array_equal(arrays(RGB[..., ::-1], bgr=True)[0], RGB)
    tensor = torch.from_numpy(RGB[..., ::-1].copy()).permute(2, 0, 1)
    np.testing.assert_array_equal(arrays(tensor, bgr=True)[0], RGB)
    np.testing.assert_array_equal(arrays(Image.fromarray(RGB), bgr=True)[0], RGB)


def test_files_folders_globs_and_lists(tmp_path):
    for name in ("b.png", "a.png", "c.txt", "sub/d.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("") if name == "c.txt" else Image.fromarray(RGB).save(path)
    names = lambda source: [image.name for image in images(source)]  # noqa: E731
    assert names(tmp_path) == ["a.png", "b.png"] == names(str(tmp_path / "*.png"))
    assert names(tmp_path / "**/*.png") == ["a.png", "b.png", "d.png"]
    mixed = [tmp_path / "b.png", RGB, Image.open(tmp_path / "a.png"), [RGB], tmp_path / "sub"]
    assert names(mixed) == ["b.png", "image_0", "a.png", "image_2", "d.png"]
    assert all((array == RGB).all() for array in arrays(mixed))
    batch = torch.from_numpy(np.stack([RGB, 255 - RGB])).permute(0, 3, 1, 2)
    assert names(batch) == ["image_0_0", "image_0_1"]
    odd = tmp_path / "a[1].png"  # a name, not a pattern
    Image.fromarray(RGB).save(odd)
    assert names(odd) == ["a[1].png"]


def test_exif_turns_files_and_pillow_alike(tmp_path):
    exif = Image.Exif()
    for number in range(1, 9):
        exif[0x0112] = number
        path = tmp_path / f"{number}.png"
        Image.fromarray(RGB).save(path, exif=exif)
        with Image.open(path) as image:
            np.testing.assert_array_equal(arrays(path)[0], arrays(image)[0])


def test_nothing_is_read_ahead_and_buffers_may_be_used_again():
    taken = []

    def frames():
        buffer = np.zeros((4, 4, 3), np.uint8)
        for number in range(3):
            taken.append(number)
            buffer[:] = number
            yield buffer

    found = images(frames())
    assert taken == []
    first = next(found)
    assert taken == [0]
    assert next(found).array.max() == 1 and first.array.max() == 0
    endless = images(RGB for _ in iter(int, 1))
    assert [next(endless).name for _ in range(3)] == ["image_0", "image_1", "image_2"]


def test_an_unreadable_image_is_left_out_where_somebody_is_told(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    source = [RGB, tmp_path / "bad.png", RGB.astype(int), RGB]
    with pytest.raises(UserError, match=r"bad.png cannot be read as an image"):
        arrays(source)
    told = []
    found = list(images(source, on_error=lambda name, error: told.append((name, str(error)))))
    assert [image.name for image in found] == ["image_0", "image_2"]
    assert [name for name, _ in told] == ["bad.png", "image_1"] and "int64" in told[1][1]


@pytest.fixture
def video(tmp_path) -> Path:
    """Twelve frames of 10 a second, each of its own grey."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 24))
    for number in range(12):
        writer.write(np.full((24, 32, 3), 20 * number, np.uint8))
    writer.release()
    return path


def test_videos_frame_by_frame(video, tmp_path, monkeypatch):
    frames = list(images([video, RGB]))
    assert [frame.frame for frame in frames] == [*range(12), None]
    assert [frame.seconds for frame in frames[:3]] == pytest.approx([0, 0.1, 0.2])
    assert [round(frame.array.mean() / 20) for frame in frames[:12]] == list(range(12))
    capture, facts = open_video(str(video))
    capture.release()
    assert (facts.rate, facts.frames) == (10, 12)
    # a colour: red is red
    path = tmp_path / "red.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 24))
    writer.write(np.full((24, 32, 3), (0, 0, 250), np.uint8))
    writer.release()
    assert arrays(path)[0].mean(axis=(0, 1)).argmax() == 0
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(UserError, match=r"broken.mp4 cannot be read as a video"):
        arrays(broken)
    # one frame is in memory at a time, and the file is closed when nobody wants more
    released = []
    made = cv2.VideoCapture(str(video))

    class Watched:
        read, get, isOpened = made.read, made.get, made.isOpened

        def release(self):
            released.append(True)

    monkeypatch.setattr(cv2, "VideoCapture", lambda _: Watched())
    found = images(video)
    next(found), found.close()
    assert released and made.get(cv2.CAP_PROP_POS_FRAMES) == 1


@pytest.fixture
def server(tmp_path):
    """A web server of a folder."""
    folder = tmp_path / "web"
    folder.mkdir()
    Image.fromarray(RGB).save(folder / "a b.png")
    (folder / "page.png").write_text("<html>")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


def test_addresses(server):
    (image,) = images(f"{server}/a%20b.png?size=1")
    assert image.name == "a b.png"
    np.testing.assert_array_equal(image.array, RGB)
    with pytest.raises(UserError, match=r"page.png cannot be read as an image"):
        arrays(f"{server}/page.png")
    with pytest.raises(UserError, match=r"Cannot download .*gone.png .*404"):
        arrays(f"{server}/gone.png")


def test_an_array_is_copied():
    source = RGB.copy()
    found = from_array(source, "it")
    source[:] = 0
    assert (found == RGB).all()
