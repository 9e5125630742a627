"""Images of any number of bands and any type: as they are in the file, scaled as it was said."""

import cv2
import numpy as np
import pytest
from PIL import Image

from convnext_dense.data.bands import reading
from convnext_dense.data.bands.load_image import LoadImage
from convnext_dense.data.bands.reading import Reading, measured_range
from convnext_dense.data.images import read_bands, read_image, read_shown
from convnext_dense.errors import UserError
from tests.tiff import write_tiff

TYPES = ("uint8", "uint16", "int16", "uint32", "float32", "float64")


def draw(bands: int, kind: str = "uint8", largest: float | None = None, low: float = 0):
    """Random pixels (11, 13, bands) that reach both ends of their range."""
    largest = largest or (1.0 if kind.startswith("float") else 255)
    pixels = low + np.random.default_rng(bands).random((11, 13, bands)) * (largest - low)
    pixels[0, 0], pixels[1, 1] = low, largest
    return pixels.astype(kind)


@pytest.fixture(autouse=True)
def said(monkeypatch) -> list[str]:
    """What was said, once each."""
    lines: list[str] = []
    monkeypatch.setattr(reading, "_said", set())
    monkeypatch.setattr(reading, "say", lines.append)
    return lines


class TestFiles:
    @pytest.mark.parametrize("kind", TYPES)
    @pytest.mark.parametrize(
        "bands", [1, 2, 8, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 4, 5))]
    )
    def test_every_band_in_its_own_type(self, bands, kind, tmp_path):
        pixels = draw(bands, kind, 3000 if kind[-2:] in ("16", "32") and "f" not in kind else None)
        for planar in (False, True) if bands in (2, 5, 8) else (False,):
            for order in "<>":
                path = write_tiff(tmp_path / "a.tif", pixels, planar=planar, byte_order=order)
                read = read_bands(path).pixels
                assert read.dtype == pixels.dtype and np.array_equal(read, pixels)

    @pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
    def test_pages_of_one_band_are_the_bands_of_an_image(self, kind, tmp_path):
        pixels = draw(8, kind)
        pages = [np.ascontiguousarray(pixels[..., i]) for i in range(8)]
        assert cv2.imwritemulti(str(tmp_path / "a.tif"), pages)
        assert np.array_equal(read_bands(tmp_path / "a.tif").pixels, pixels)

    def test_pages_of_colours_are_refused(self, tmp_path):
        pages = [Image.fromarray(draw(3)) for _ in range(2)]
        pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
        with pytest.raises(UserError, match="2 pages of 3 bands"):
            read_image(tmp_path / "a.tif")

    @pytest.mark.parametrize("turned", range(1, 9))
    def test_exif_turns_other_types_too(self, turned, tmp_path):
        image = Image.fromarray(draw(1, "uint16", 4095)[..., 0])
        image.save(tmp_path / "a.tif", tiffinfo={274: turned})
        ops = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
               6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}  # fmt: skip
        if turned > 1:
            image = image.transpose(Image.Transpose[ops[turned]])
        read = read_bands(tmp_path / "a.tif").pixels[..., 0]
        assert np.array_equal(read, np.asarray(image))

    def test_exif_turns_many_bands(self, tmp_path):
        pixels = draw(5)
        write_tiff(tmp_path / "a.tif", pixels, orientation=6)
        assert np.array_equal(read_bands(tmp_path / "a.tif").pixels, np.rot90(pixels, -1))

    def test_compressed_bands_need_tifffile(self, tmp_path, monkeypatch):
        pixels = draw(5)
        path = write_tiff(tmp_path / "a.tif", pixels)
        content = bytearray(path.read_bytes())
        where = content.rindex(b"\x03\x01\x03\x00\x01\x00\x00\x00")  # tag 259: compression
        content[where + 8 : where + 10] = b"\x05\x00"
        path.write_bytes(content)
        monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
        with pytest.raises(UserError, match=r"5 compressed bands.*convnext_dense\[tiff\]"):
            read_image(path)

    @pytest.mark.parametrize("cut", [7, 60, 300])
    def test_cut_off_files(self, cut, tmp_path):
        path = write_tiff(tmp_path / "a.tif", draw(8, "uint16", 4095))
        path.write_bytes(path.read_bytes()[:-cut])
        with pytest.raises(UserError, match=r"a\.tif cannot be read"):
            read_image(path)


class TestReading:
    @pytest.mark.parametrize(
        ("kind", "low", "largest", "expected"),
        [
            ("uint8", 0, 255, (0, 255)),
            ("uint16", 0, 3900, (0, 4095)),
            ("uint16", 0, 900, (0, 1023)),
            ("uint16", 0, 40000, (0, 65535)),
            ("int16", 5, 3000, (0, 4095)),
            ("int16", -1024, 3071, (-1024, 3071)),
            ("uint32", 0, 70000, (0, 70000)),
            ("float32", 0, 0.75, (0, 1)),
            ("float32", -2.0, 3.5, (-2, 3.5)),
        ],
    )
    def test_measured_ranges(self, kind, low, largest, expected):
        assert measured_range([draw(2, kind, largest, low)], "a") == expected

    def test_a_model_of_many_channels_gets_numbers_of_its_range(self, tmp_path):
        pixels = draw(4, "uint16", 4095)
        path = write_tiff(tmp_path / "a.tif", pixels)
        read = LoadImage(channels=4, value_range=(0, 4095))(dict(img_path=path))["img"]
        assert read.dtype == np.float32 and read.shape == (11, 13, 4)
        assert np.allclose(read, pixels * (255 / 4095), atol=1e-4)

    def test_three_channels_are_blue_green_red(self, tmp_path):
        pixels = draw(3, "uint16", 4095)
        path = write_tiff(tmp_path / "a.tif", pixels)
        read = read_image(path, Reading(3, (0, 4095)))
        assert np.allclose(read[..., ::-1], pixels * (255 / 4095), atol=1e-4)

    def test_eight_bits_are_never_scaled(self, tmp_path):
        pixels = draw(4)
        path = write_tiff(tmp_path / "a.tif", pixels)
        read = read_image(path, Reading(4, (0, 4095)))
        assert read.dtype == np.uint8 and np.array_equal(read, pixels)

    @pytest.mark.parametrize(("largest", "shift"), [(4095, 4), (1023, 2), (65535, 8)])
    def test_a_model_of_colours_keeps_the_upper_bits_and_says_so_once(
        self, largest, shift, tmp_path, said
    ):
        for name in "ab":
            pixels = draw(1, "uint16", largest)
            path = write_tiff(tmp_path / f"{name}.tif", pixels)
            read = read_image(path)
            assert read.dtype == np.uint8
            assert np.array_equal(read, np.repeat((pixels >> shift).astype(np.uint8), 3, axis=2))
        (line,) = said
        assert f"a.tif holds uint16 from 0 to {largest}" in line and "--value-range" in line

    def test_a_declared_range_counts_more_than_the_values(self, tmp_path):
        pixels = draw(1, "uint16", 900)
        path = write_tiff(tmp_path / "a.tif", pixels, largest=4095)
        assert np.array_equal(read_image(path)[..., 0], pixels[..., 0] >> 4)

    def test_bands_that_a_model_of_colours_lacks_are_said_once(self, tmp_path, said):
        pixels = draw(5)
        for name in "ab":
            read = read_image(write_tiff(tmp_path / f"{name}.tif", pixels))
            assert np.array_equal(read[..., ::-1], pixels[..., :3])
        assert len(said) == 1 and "a.tif has 5 bands, and the model 3 channels" in said[0]

    def test_transparency_that_is_left_out_of_a_tiff_is_said(self, tmp_path, said):
        pixels = draw(4)
        Image.fromarray(pixels, "RGBA").save(tmp_path / "a.tif")
        assert np.array_equal(read_image(tmp_path / "a.tif")[..., ::-1], pixels[..., :3])
        assert len(said) == 1 and "in_channels=4" in said[0]
        read = read_image(tmp_path / "a.tif", Reading(4))
        assert np.array_equal(read, pixels) and len(said) == 1

    def test_grey_and_colours_serve_each_other(self, tmp_path):
        grey, colours = draw(1), draw(3)
        Image.fromarray(grey[..., 0]).save(tmp_path / "grey.png")
        Image.fromarray(colours).save(tmp_path / "colours.png")
        assert np.array_equal(read_image(tmp_path / "grey.png", Reading(1)), grey)
        assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(grey, 3, axis=2))
        expected = np.asarray(Image.fromarray(colours).convert("L"), int)
        read = read_image(tmp_path / "colours.png", Reading(1))
        assert read.shape == (11, 13, 1) and np.abs(read[..., 0] - expected).max() <= 1

    @pytest.mark.parametrize(("bands", "channels"), [(2, 3), (3, 4), (8, 4), (1, 2)])
    def test_other_bands_than_the_models(self, bands, channels, tmp_path):
        path = write_tiff(tmp_path / "a.tif", draw(bands))
        with pytest.raises(UserError, match=f"{bands} bands, but the model takes {channels}"):
            read_image(path, Reading(channels))

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_values_that_are_no_numbers(self, value, tmp_path):
        pixels = draw(4, "float32")
        pixels[3, 3, 3] = value
        path = write_tiff(tmp_path / "a.tif", pixels)
        for channels, value_range in ((4, None), (4, (0, 1))):
            with pytest.raises(UserError, match="a.tif holds values that are no numbers"):
                read_image(path, Reading(channels, value_range))

    def test_people_see_the_first_three_bands(self, tmp_path, said):
        pixels = draw(8, "uint16", 4095)
        image = read_shown(write_tiff(tmp_path / "a.tif", pixels))
        assert image.dtype == np.uint8
        assert np.abs(image - pixels[..., :3] * (255 / 4095)).max() <= 0.51
        assert "show the first three" in said[0]
