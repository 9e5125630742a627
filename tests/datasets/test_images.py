"""Images as files have them: how they are read, compared with Pillow's pixels, and refusals."""

import io
import multiprocessing
import signal

import cv2
import numpy as np
import pytest
from mmengine.dataset import Compose
from PIL import Image, ImageOps

from convnext_dense.data.bands.load_image import LoadImage, NamingPipeline
from convnext_dense.data.decoding.decoders import decode_by_pillow
from convnext_dense.data.image_scan import OpenedImage, open_in_parallel
from convnext_dense.data.images import explaining_opencv, read_image
from convnext_dense.errors import UserError
from tests.hostile import files

LOSSY = {"cmyk jpg": 3}  # mean difference of two libraries' conversions
READ = [kind for kind in files.WHOLE if kind != "float tif"]


@pytest.mark.parametrize("kind", READ)
def test_the_pixels_are_pillows(kind, tmp_path):
    path = tmp_path / f"a.{kind.split()[-1]}"
    data = files.encode(kind, 37, 29, 5)
    path.write_bytes(data)
    ours = read_image(path)[..., ::-1].astype(int)
    # The classifier's decoder takes the upper 8 of 16 bits, where Image.convert gives white.
    expected = decode_by_pillow(io.BytesIO(data))
    with Image.open(path) as image:
        if "exif" in kind and "tif" not in kind:
            expected = ImageOps.exif_transpose(image).convert("RGB")
    expected = np.asarray(expected).astype(int)
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).mean() <= LOSSY.get(kind, 0)


@pytest.mark.parametrize("how", sorted({*files.DAMAGE} - {"flipped", "missing", "folder"}))
def test_what_is_no_whole_picture_is_named(how, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(files.damage(files.encode("jpg", 30, 20, 0), how, 3))
    with pytest.raises(UserError, match="a.jpg cannot be read as an image"):
        read_image(path)


def test_a_picture_of_another_size_than_stated_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(files.encode("exif 6 jpg", 30, 20, 0))
    found = LoadImage()(dict(img_path=path, width=20, height=30))
    assert found["img"].shape == (30, 20, 3) and found["ori_shape"] == (30, 20)
    with pytest.raises(UserError, match=r"20 x 30 pixels, .* says 30 x 20: .* by its EXIF entry"):
        LoadImage()(dict(img_path=path, width=30, height=20))
    with pytest.raises(UserError, match=r"says 21 x 30: [^.]*\.$"):
        LoadImage()(dict(img_path=path, width=21, height=30))


def test_a_thin_picture_is_named():
    def shrink(sample: dict) -> dict:
        return dict(sample, img=cv2.resize(sample["img"], (64, 0)))

    pipeline = NamingPipeline(Compose([shrink]))
    with pytest.raises(UserError, match=r"^a/b.png cannot be resized .* too thin"):
        pipeline(dict(img_path="a/b.png", img=np.zeros((1, 700, 3), np.uint8)))
    with (
        pytest.raises(ZeroDivisionError),
        explaining_opencv("a/b.png"),
    ):  # a bug is none of its business
        raise ZeroDivisionError


def handler_of_sigterm(_: int) -> OpenedImage:
    return OpenedImage(str(signal.getsignal(signal.SIGTERM)))


def test_processes_that_open_images_can_be_ended():
    """A pool ends its processes by SIGTERM: a handler that they inherit would keep them alive."""

    def hangs(*_) -> None:
        for process in multiprocessing.active_children():
            process.kill()
        raise AssertionError("the pool waits for its processes")

    previous = signal.signal(signal.SIGTERM, lambda *_: None), signal.signal(signal.SIGALRM, hangs)
    signal.alarm(60)
    try:
        opened = open_in_parallel(handler_of_sigterm, range(4), "images")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGTERM, previous[0])
        signal.signal(signal.SIGALRM, previous[1])
    assert {image.path for image in opened} == {str(signal.SIG_DFL)}
