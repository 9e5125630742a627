"""Label images of colours: each pixel has the class of its colour, or the colour is named."""

import numpy as np
import pytest
from PIL import Image

from convnext_dense.data.labels.label_image import read_indices
from convnext_dense.errors import UserError
from tests.layouts.drawn import COLOURS, classes_of, load, loaded, save, save_image, scene

NAMES = ("background", "road", "house", "tree")
TABLE = np.array(COLOURS, np.uint8)


def write_palette(path, colours=COLOURS, names=NAMES):
    rows = [f"{name},{','.join(map(str, c))}" for name, c in zip(names, colours, strict=True)]
    path.write_text("\n".join(rows))
    return path


def write_masks(root, pixels):
    """``images`` and ``labels`` of two scenes; ``pixels`` makes a picture of a scene."""
    for split in ("train", "val"):
        save_image(root / f"images/{split}/0.jpg")
        path = root / f"labels/{split}/0.png"
        path.parent.mkdir(parents=True)
        pixels(scene(0)).save(path)
    return ["--images", root / "images", "--labels", root / "labels"]


def palette_image(labels):
    """A palette of its own: colour n is class 3 - n."""
    image = Image.fromarray((3 - labels).astype(np.uint8))
    image.putpalette([*TABLE[::-1].ravel().tolist(), *(252 * [9, 9, 9])])
    return image


def with_alpha(labels):
    return Image.fromarray(np.dstack([TABLE[labels], np.full(labels.shape, 255, np.uint8)]))


@pytest.mark.parametrize(
    "pixels", [lambda labels: Image.fromarray(TABLE[labels]), palette_image, with_alpha]
)
def test_colours_have_their_classes(tmp_path, pixels):
    flags = write_masks(tmp_path, pixels)
    palette = write_palette(tmp_path / "p.csv")
    cfg = load(tmp_path / "w", *flags, "--palette", palette)
    assert classes_of(cfg) == NAMES
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(loaded(cfg, split)["0.jpg"], scene(0))


def test_grey_colours_are_colours_where_a_palette_says_so(tmp_path):
    greys = ((0, 0, 0), (255, 255, 255), (9, 9, 9), (200, 200, 200))
    flags = write_masks(tmp_path, lambda labels: Image.fromarray(np.array(greys, np.uint8)[labels]))
    cfg = load(tmp_path / "w", *flags, "--palette", write_palette(tmp_path / "p.csv", greys))
    np.testing.assert_array_equal(loaded(cfg)["0.jpg"], scene(0))


def test_an_ignored_colour_and_the_order_of_classes_txt(tmp_path):
    flags = write_masks(tmp_path, lambda labels: Image.fromarray(TABLE[labels]))
    palette = write_palette(tmp_path / "p.csv", names=("ignore", *NAMES[1:]))
    (tmp_path / "classes.txt").write_text("tree\nhouse\nroad\n")
    cfg = load(tmp_path / "w", *flags, "--palette", palette)
    assert classes_of(cfg) == ("tree", "house", "road")
    expected = np.array([255, 2, 1, 0])[scene(0)]
    np.testing.assert_array_equal(loaded(cfg)["0.jpg"], expected)
    (tmp_path / "classes.txt").write_text("tree\nhouse\nstreet\n")
    with pytest.raises(UserError, match="names the class 'road', but .*classes.txt has tree, hou"):
        load(tmp_path / "w", *flags, "--palette", palette)


def test_an_unknown_colour_is_named_with_its_share(tmp_path):
    flags = write_masks(tmp_path, lambda labels: Image.fromarray(TABLE[labels]))
    palette = write_palette(tmp_path / "p.csv")
    pixels = TABLE[scene(0)]
    pixels[0, :12] = 128, 64, 127  # nearly the road's
    path = save(tmp_path / "labels/train/0.png", pixels)
    cfg = load(tmp_path / "w", *flags, "--palette", palette)
    message = rf"{path} holds 1 colours without a class, in 1.00% .*128,64,127 \(1.00%\).*NAME,128"
    with pytest.raises(UserError, match=message):
        loaded(cfg)


def test_colours_without_a_palette_are_listed(tmp_path):
    path = save(tmp_path / "label.png", TABLE[np.repeat([[0, 0, 0, 1]], 4, axis=0)])
    with pytest.raises(
        UserError, match=r"2 colours.*--palette FILE; the colours are 0,0,0 \(75.00"
    ):
        read_indices(path)


def test_a_run_without_palette_is_told_of_it_before_class_names(tmp_path):
    flags = write_masks(tmp_path, lambda labels: Image.fromarray(TABLE[labels]))
    with pytest.raises(UserError, match=r"0.png has 3 channels with 4 colours.*--palette FILE"):
        load(tmp_path / "w", *flags)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_equal_channels_are_indices(tmp_path, channels):
    pixels = np.dstack([scene(0)] * 3 + [np.full((30, 40), 255)])[..., :channels]
    path = save(tmp_path / "label.png", np.squeeze(pixels).astype(np.uint8))
    np.testing.assert_array_equal(read_indices(path), scene(0))


def test_transparent_pixels_have_no_clear_class(tmp_path):
    pixels = np.dstack([scene(0)] * 3 + [scene(0)]).astype(np.uint8)
    with pytest.raises(UserError, match="transparent pixels, whose class is not clear"):
        read_indices(save(tmp_path / "label.png", pixels))
