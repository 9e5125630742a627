"""Corruptions against slow references, closed forms and the published constants."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from convnext_dense.classification.dataset import seeded_random
from convnext_dense.classification.robustness import c_bar
from convnext_dense.classification.robustness.corruption_tables import (
    ALEXNET_ERRORS,
    C_BAR_SEVERITIES,
    SEVERITIES,
)
from convnext_dense.classification.robustness.corruptions import (
    CorruptingTransform,
    centre_crop,
    check_corruption,
    corrupt,
    image_seed,
)
from convnext_dense.classification.robustness.counting import Options
from convnext_dense.classification.robustness.evaluation import evaluate, transform_without_crop
from convnext_dense.classification.transforms import TestTransform
from convnext_dense.errors import UserError
from tests.classification.test_robustness import reader, spell


def scene(height: int = 64, width: int = 64) -> np.ndarray:
    """A smooth coloured image."""
    y, x = np.indices((height, width))
    waves = [128 + 100 * np.sin(x / 9 + k) * np.cos(y / (7 + k)) for k in range(3)]
    return np.stack(waves, axis=2).astype(np.uint8)


def distance(picture: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(picture.astype(float) - other).mean())


def names():
    """All corruptions; the package's are skipped where it is not installed."""
    yield from C_BAR_SEVERITIES
    for name in ALEXNET_ERRORS:
        yield pytest.param(name, marks=needs_package)


try:
    check_corruption("fog", 1)
    missing = ""
except UserError as error:
    missing = str(error)
needs_package = pytest.mark.skipif(bool(missing), reason=missing)


@pytest.mark.parametrize("name", names())
def test_severity_grows_shapes_stay_seeds_repeat(name):
    picture = scene()
    kept, state = picture.copy(), np.random.get_state()[1].copy()
    # the mean of a few: place and size of what is drawn vary
    far = [
        np.mean([distance(picture, corrupt(picture, name, s, k)) for k in range(4)]) for s in (1, 5)
    ]
    assert 0 < far[0] < far[1]
    assert np.array_equal(corrupt(picture, name, 3, 7), corrupt(picture, name, 3, 7))
    deterministic = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate")
    if name not in (*deterministic, "jpeg_compression"):
        assert not np.array_equal(corrupt(picture, name, 3, 7), corrupt(picture, name, 3, 8))
    for height, width in ((33, 47), (51, 32)):
        odd = corrupt(scene(height, width), name, 2, 0)
        assert odd.shape == (height, width, 3) and odd.dtype == np.uint8
    assert np.array_equal(picture, kept)
    assert np.array_equal(np.random.get_state()[1], state)  # others' random numbers


# Closed forms: ImageNet-C, whose constants are in the table of its paper's code.


@needs_package
@pytest.mark.parametrize("severity", SEVERITIES)
def test_constants_of_imagenet_c(severity):
    def made(name: str, picture: np.ndarray) -> np.ndarray:
        return corrupt(picture, name, severity, 0).astype(float)

    grey = np.full((128, 128, 3), 128, np.uint8)
    sigma = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1] * 255
    noise = made("gaussian_noise", grey) - 128
    inside = np.abs(noise) < 100  # the rest is clipped
    normal = np.random.default_rng(0).normal(0, sigma, 10**6)
    assert noise[inside].std() == pytest.approx(normal[np.abs(normal) < 100].std(), rel=0.02)
    photons = (60, 25, 12, 5, 3)[severity - 1]
    levels = np.floor(np.arange(photons + 1) / photons * 255)
    assert np.isin(made("shot_noise", grey), levels).all()
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    assert (made("impulse_noise", grey) != 128).mean() == pytest.approx(share, rel=0.1)
    lighter = made("brightness", np.full((32, 32, 3), 60, np.uint8))
    assert lighter == pytest.approx(60 + 255 * severity / 10, abs=1)
    factor = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    mean = scene().mean((0, 1))
    assert made("contrast", scene()) == pytest.approx((scene() - mean) * factor + mean, abs=1)
    width = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1] * 64
    assert len(np.unique(made("pixelate", scene())[0], axis=0)) == int(width)


# ImageNet-C-bar pixel by pixel, as its paper's code goes about it.


def slowly(kernel, picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    rows = [
        [kernel(float(y), float(x), picture[y, x]) for x in range(width)] for y in range(height)
    ]
    return np.array(rows)


def plane_wave(picture, severity, rng):
    a = rng.uniform(-np.pi, np.pi)
    fx, fy = rng.permutation([a, rng.uniform(-abs(a), abs(a))])
    phase = rng.uniform(0, 2 * np.pi)
    return slowly(lambda y, x, v: v + 19.6 * severity * math.sin(x * fx + y * fy + phase), picture)


def rings(picture, severity, rng):
    side = min(picture.shape[:2])
    x0, y0 = rng.uniform(0, side, 2)
    frequency, amplitude, width = (rng.uniform(0, high) for high in (10, side / 10, side / 10))

    def kernel(y, x, value):
        angle = math.atan2(x - x0, y - y0) * frequency
        radius = math.dist((x, y), (x0, y0)) + math.sin(angle) * amplitude
        return value + 12.8 * severity * ((radius % width) / width - 0.5)

    return slowly(kernel, picture)


def plasma(picture, severity, rng):
    time, rounds, sharp = rng.uniform(0, 6 * np.pi), rng.integers(4, 7), rng.uniform(0.5, 1)
    scale = rng.uniform(0.075, 0.2) * min(picture.shape[:2])

    def kernel(y, x, value):
        y, x, i = y / scale, x / scale, [1.0, 1.0, 1.0]
        for _ in range(rounds):
            r = [math.cos(y * i[0] + time / i[1]) / i[2], math.sin(x * i[0] + time / i[1]) / i[2]]
            r = [r[0] - 0.3 * r[1], r[1] + 0.3 * r[0]]
            x, y = x + r[0], y + r[1]
            i = [i[0] * 1.93, i[1] * 1.15, i[2] * (2.25 - sharp)]
        noise = (x - time, (x + y + math.sin(time)) * 0.5, y + time)
        share = 6.4 * severity / 255
        return [
            (1 - share) * v + 255 * share * math.sin(n) for v, n in zip(value, noise, strict=True)
        ]

    return slowly(kernel, picture)


def chessboard(picture, severity, rng):
    height, width = picture.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    field = max(rng.uniform(0.1, 0.25) * min(height, width), 1)
    cells = int(4 * max(height, width) // field)
    drawn = rng.uniform(size=(cells, cells)) < severity / 10

    def kernel(y, x, value):
        u = (math.cos(angle) * y + math.sin(angle) * x) / field
        v = (-math.sin(angle) * y + math.cos(angle) * x) / field
        keep = int(u % 2) != int(v % 2) or not drawn[int(u), int(v)]
        return value if keep else [128, 128, 128]

    return slowly(kernel, picture)


def star_light(y, x, y0, x0, rays, exponent):
    place = (math.atan2(x - x0, y - y0) + math.pi) / (2 * math.pi) * len(rays)
    i, f = int(place), place - int(place)
    length = rays[i % len(rays)] + f * (rays[(i + 1) % len(rays)] - rays[i % len(rays)])
    glow = (length**2 / ((y - y0) ** 2 + (x - x0) ** 2 + 1e-4)) ** exponent
    return min(max((1 - (f - 0.5) ** 2) * glow, 0), 1)


def stars(picture, severity, rng):
    side = min(picture.shape[:2])
    for y0, x0 in rng.uniform(0, side, (5, 2)):
        radius = severity * 0.01 * side
        rays = [
            max(1, radius + 0.25 * radius * n) for n in rng.standard_normal(rng.integers(50, 200))
        ]

        def kernel(y, x, value, y0=y0, x0=x0, rays=rays):
            return value + star_light(y, x, y0, x0, rays, 1) * (255 - value)

        picture = slowly(kernel, picture)
    return picture


def window(picture, severity, rng):
    side = min(picture.shape[:2])
    y0, x0 = rng.uniform(0.25, 0.75, 2) * side
    rays = [0.25 * side * (1 + 0.25 * n) for n in rng.standard_normal(rng.integers(50, 200))]
    amount = 100 - 6.5 * severity
    return slowly(
        lambda y, x, v: 255 + star_light(y, x, y0, x0, rays, (100 - amount) / 50) * (v - 255),
        picture,
    )


REFERENCES = {
    "single_frequency_greyscale": plane_wave,
    "cocentric_sine_waves": rings,
    "plasma_noise": plasma,
    "checkerboard_cutout": chessboard,
    "sparkles": stars,
    "inverse_sparkles": window,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_c_bar_pixel_by_pixel(name):
    picture = scene(14, 17).astype(np.float32)
    for seed, severity in ((0, 2.5), (1, 9.0)):
        ours = c_bar.CORRUPTIONS[name](picture, severity, np.random.default_rng(seed))
        slow = REFERENCES[name](picture, severity, np.random.default_rng(seed))
        assert np.allclose(ours, slow, atol=1e-3)


def refract(normal: np.ndarray, eta: float) -> np.ndarray:
    """Snell's law for light from (0, 0, 1), with a change of basis."""
    down = np.array([0.0, 0.0, 1.0])
    if abs(down @ normal) >= 1 - 1e-3:
        return down
    inside = math.asin(math.sin(math.acos(down @ normal)) / eta)
    across = np.cross(down, normal)
    across /= np.linalg.norm(across)
    basis = np.stack((normal, np.cross(normal, across), across))
    return np.linalg.inv(basis) @ np.array([math.cos(inside), math.sin(inside), 0.0])


def test_caustics_bend_light_by_the_law_of_refraction(monkeypatch):
    rng = np.random.default_rng(3)
    web = np.clip(rng.normal(0.5, 0.8, (9, 11)), 0, 1)
    monkeypatch.setattr(c_bar, "_caustics", lambda *arguments: web)
    monkeypatch.setattr(c_bar.cv2, "GaussianBlur", lambda surface, *arguments: surface)
    # the value of a pixel tells where it came from, also between pixels
    y, x = np.indices(web.shape)
    picture = np.stack([10.0 * y, 10.0 * x, 0 * y], axis=2).astype(np.float32)
    severity = 4.0
    ours = c_bar.caustic_refraction(picture, severity, np.random.default_rng(0))
    around = np.pad(web, 1)
    for row in range(2, 7):
        for column in range(2, 9):
            south, north = around[row + 2, column + 1], around[row, column + 1]
            east, west = around[row + 1, column + 2], around[row + 1, column]
            normal = np.array([south - north, east - west, 1.0])
            bent = refract(normal / np.linalg.norm(normal), 4.0) * (0.05 * severity * 9)
            light = 255 * 0.2 * severity * ((south - north) - (east - west))
            place = (row + bent[0], column + bent[1])
            expected = [10 * p + light for p in place] + [light]
            assert ours[row, column] == pytest.approx(expected, abs=0.35)  # OpenCV: 1/32 pixel


def test_spectra_of_the_noises():
    rng = np.random.default_rng(0)
    flat = np.zeros((64, 64, 3), np.float32)
    brown = c_bar.brownish_noise(flat, 5.0, rng)
    assert [brown[..., k].std() for k in range(3)] == pytest.approx([32.0] * 3)
    strength = np.abs(np.fft.fft2(brown[..., 0]))
    assert strength[1:3, 1:3].mean() > 100 * strength[28:36, 28:36].mean()
    share = [
        1 - c_bar.blue_noise_sample(flat + 1, severity, rng)[..., 0].mean()
        for severity in (2.4, 5.6)
        for _ in range(20)
    ]
    # noise of deviation 1 is below .3 * 2.4 - 2.5 = -1.78 and .3 * 5.6 - 2.5 = -.82
    assert np.mean(share[:20]) == pytest.approx(0.0375, abs=0.01)
    assert np.mean(share[20:]) == pytest.approx(0.2061, abs=0.02)


def test_gradient_noise_is_zero_on_its_lattice():
    y, x = np.indices((5, 6)).astype(float)
    rng = np.random.default_rng(0)
    assert np.allclose(c_bar._gradient_noise(y, x, rng), 0)
    between = c_bar._gradient_noise(y + 0.5, x + 0.5, rng)
    assert 0.1 < between.std() < 1 and np.abs(between).max() <= 1.5
    black = c_bar.perlin_noise(np.zeros((64, 64, 3), np.float32), 10.0, rng)
    assert black.min() >= 0.5 * 255 * 0.5 and black.max() <= 0.5 * 255


# On the fly


def test_the_published_crop_and_jpeg():
    picture = Image.fromarray(scene(300, 401))
    cropped = np.asarray(centre_crop(picture))
    resized = np.asarray(picture.resize((342, 256), Image.Resampling.BILINEAR))
    assert np.array_equal(cropped, resized[16:240, 59:283])
    assert centre_crop(Image.fromarray(scene(40, 99))).size == (99, 40)
    seen = []
    make = CorruptingTransform("brownish_noise", 1, lambda p: seen.append(np.asarray(p)) or p)
    with seeded_random(3):
        make(picture)
    with seeded_random(3):
        made = corrupt(cropped, "brownish_noise", 1, int(np.random.randint(2**32, dtype=np.uint64)))
    assert seen[0].shape == (224, 224, 3)
    assert 0 < distance(seen[0], made) < 5 < distance(seen[0], cropped)  # JPEG changes little


def test_on_the_fly_is_the_same_again_whatever_the_order(tmp_path):
    classes = ("0", "1", "2")
    for number in range(3):
        for k, mode in enumerate(("RGB", "L")):  # grey files as well
            spell(tmp_path / str(number) / f"{k}.png", number, mode)
    options = dict(corrupt=True, severities=(1, 5), corruptions=("brownish_noise", "sparkles"))
    runs = [
        evaluate(reader(classes), tmp_path, "cbar", Options(**options, batch_size=size))
        for size in (2, 6)
    ]
    assert runs[0] == runs[1] and runs[0]["made_on_the_fly"]
    assert set(runs[0]["corruptions"]["sparkles"]["errors"]) == {"1", "5"}
    seeds = {
        image_seed(seed, name, severity, path)
        for seed in (0, 1)
        for name in ("snow", "fog")
        for severity in (1, 2)
        for path in ("a/1.png", "b/1.png")
    }
    assert len(seeds) == 16


def test_a_test_transform_follows():
    make = CorruptingTransform("sparkles", 2, TestTransform(96, crop=1.0))
    tensor = make(Image.fromarray(scene(50, 70)))
    assert tensor.shape == (3, 96, 96) and tensor.dtype == torch.uint8


def test_pictures_of_224_are_not_cropped_again():
    pixels = scene(224, 224)
    for size, side in ((224, 224), (384, 384)):
        tensor = transform_without_crop(replace(reader(), transform=dict(size=size)))(
            Image.fromarray(pixels)
        )
        assert tensor.shape == (3, side, side)
        if size == 224:
            assert np.array_equal(tensor.permute(1, 2, 0).numpy(), pixels)


def test_what_cannot_be_made_is_refused(monkeypatch):
    with pytest.raises(UserError, match="Unknown corruption 'rain'"):
        corrupt(scene(), "rain", 1, 0)
    with pytest.raises(UserError, match="1 to 5, got 0"):
        corrupt(scene(), "sparkles", 0, 0)
    monkeypatch.setattr(
        "convnext_dense.classification.robustness.corruptions.PACKAGE", "not-there-at-all"
    )
    with pytest.raises(UserError, match="run pip install not-there-at-all"):
        corrupt(scene(), "fog", 1, 0)


@needs_package
def test_tiny_pictures_are_refused():
    with pytest.raises(UserError, match="at least 32 x 32 pixels, got 31 x 40"):
        corrupt(scene(31, 40), "fog", 1, 0)
