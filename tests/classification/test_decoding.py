"""The faster JPEG decoders beside Pillow."""

import io
import pickle
import sys
import types
import warnings

import numpy as np
import pytest
from PIL import Image

from convnext_dense.data.decoding import decoders
from convnext_dense.data.decoding.decoders import FastJpeg, decode_by_pillow, open_decoder
from convnext_dense.errors import UserError


def picture(mode: str = "RGB") -> Image.Image:
    """A smooth image of odd size with some noise, in any mode."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:45, :67]
    pixels = np.stack([3 * x, 5 * y, 2 * (x + y)], axis=-1) % 256
    noisy = np.clip(pixels + rng.integers(-20, 20, pixels.shape), 0, 255)
    return Image.fromarray(noisy.astype(np.uint8)).convert(mode)


def saved(mode: str = "RGB", kind: str = "jpeg", **options) -> bytes:
    file = io.BytesIO()
    picture(mode).save(file, kind, **options)
    return file.getvalue()


FILES = {
    "rgb": saved(quality=90),
    "subsampled": saved(quality=60, subsampling="4:2:0"),
    "full colour": saved(quality=95, subsampling="4:4:4"),
    "progressive": saved(quality=80, progressive=True),
    "grey": saved("L"),
    "cmyk": saved("CMYK"),
    "png": saved(kind="png"),
    "palette": saved("P", kind="png"),
}
BROKEN = {
    "truncated": saved(quality=90)[:-500],
    "header alone": saved(quality=90)[:200],
    "no image": b"not an image",
    "empty": b"",
}


def outcome(decode, data: bytes):
    """The pixels, or the kind of error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return np.asarray(decode(io.BytesIO(data))).tolist()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("name", ["turbojpeg", "torchcodec"])
def test_a_fast_decoder_gives_pillows_pixels_and_errors(name):
    try:
        decode = open_decoder(name)
    except UserError as error:
        pytest.skip(str(error))
    for kind, data in (FILES | BROKEN).items():
        assert outcome(decode, data) == outcome(decode_by_pillow, data), kind
    assert outcome(pickle.loads(pickle.dumps(decode)), FILES["rgb"]) == outcome(
        decode_by_pillow, FILES["rgb"]
    )


def test_only_whole_rgb_and_grey_jpegs_come_from_the_library():
    calls = []

    def library(data):
        calls.append(data)
        return np.zeros((2, 3, 3), np.uint8)

    decode = FastJpeg(lambda: library)
    fast = [kind for kind, data in FILES.items() if decode(io.BytesIO(data)).size == (3, 2)]
    assert fast == ["rgb", "subsampled", "full colour", "progressive", "grey"]
    assert calls == [FILES[kind] for kind in fast]


@pytest.mark.parametrize("error", [OSError, RuntimeError, ValueError, UserWarning])
def test_pillow_decides_what_the_library_refuses(error):
    def library(data):
        raise error("cannot")

    decode = FastJpeg(lambda: library)
    assert outcome(decode, FILES["rgb"]) == outcome(decode_by_pillow, FILES["rgb"])
    assert outcome(decode, BROKEN["truncated"]) is OSError


def test_a_warning_of_pyturbojpeg_counts_as_refusal(monkeypatch):
    """PyTurboJPEG gives half an image with a warning where a file is truncated."""

    class TurboJPEG:
        def decode(self, data, pixel_format):
            assert pixel_format == 7
            if data != FILES["rgb"]:
                warnings.warn("Premature end of JPEG file", stacklevel=1)
            return np.full((2, 3, 3), 9, np.uint8)

    monkeypatch.setitem(
        sys.modules, "turbojpeg", types.SimpleNamespace(TurboJPEG=TurboJPEG, TJPF_RGB=7)
    )
    decoders._turbojpeg.cache_clear()
    try:
        decode = FastJpeg(decoders._turbojpeg)
        assert decode(io.BytesIO(FILES["rgb"])).size == (3, 2)
        assert outcome(decode, BROKEN["truncated"]) is OSError
    finally:
        decoders._turbojpeg.cache_clear()


def test_gigantic_sizes_are_refused_before_anything_is_decoded(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    decode = FastJpeg(lambda: pytest.fail("decoded"))
    assert outcome(decode, FILES["rgb"]) is Image.DecompressionBombError


def test_a_missing_or_unknown_decoder_is_named(monkeypatch):
    with pytest.raises(UserError, match=r"'turbo'.* pillow, turbojpeg, torchcodec"):
        open_decoder("turbo")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs PyTurboJPEG and libturbojpeg: install"):
        open_decoder("turbojpeg")


def test_a_library_that_does_not_load_is_named(monkeypatch):
    def load():
        raise OSError("libturbojpeg.so.0: cannot open")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setitem(
        decoders.JPEG_DECODERS, "turbojpeg", (FastJpeg(load), "turbojpeg", "PyTurboJPEG")
    )
    with pytest.raises(UserError, match=r"PyTurboJPEG is installed but .*libturbojpeg.so.0"):
        open_decoder("turbojpeg")


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_of_16_bits_the_upper_8_are_taken(kind):
    ramp = np.arange(0, 65536, 97, dtype=np.uint16)[:600].reshape(20, 30)
    file = io.BytesIO()
    Image.fromarray(ramp).save(file, kind)
    file.seek(0)
    decoded = np.asarray(decode_by_pillow(file))
    assert decoded.shape == (20, 30, 3)
    assert (decoded == (ramp // 256)[..., None]).all()
