"""The ten corruptions of ImageNet-C-bar (Mintun, Kirillov and Xie 2021, arXiv 2102.11273).

Implemented from the published parameters (appendix of the paper, and its dataset's list of
severities). Each function maps a float32 RGB image (H, W, 3) in 0 to 255, a severity on the
paper's scale of 0 to 10 and a random generator to an image that need not be clipped. Lengths
that the paper gives for 224 x 224 images are scaled with the shorter side.
"""

import cv2
import numpy as np
from numpy.random import Generator

FULL_TURN = 2 * np.pi


def single_frequency_greyscale(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Adds a plane wave of a random frequency below the sampling limit."""
    first = rng.uniform(-np.pi, np.pi)
    second = rng.uniform(-abs(first), abs(first))
    along_x, along_y = rng.permutation([first, second])
    y, x = _grid(image)
    wave = np.sin(x * along_x + y * along_y + rng.uniform(0, FULL_TURN))
    return image + 19.6 * severity * wave[..., None]


def cocentric_sine_waves(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Adds rings (ramps of brightness) around a point; their radius varies with the angle."""
    side = _side(image)
    y, x = _grid(image)
    x0, y0 = rng.uniform(0, side, 2)
    waves, amplitude = rng.uniform(0, 10), rng.uniform(0, side / 10)
    width = rng.uniform(0, side / 10)
    radius = np.hypot(x - x0, y - y0) + amplitude * np.sin(waves * np.arctan2(x - x0, y - y0))
    return image + 12.8 * severity * (radius % width / width - 0.5)[..., None]


def plasma_noise(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Mixes in smooth coloured streaks: sines of positions that are displaced repeatedly."""
    time, rounds = rng.uniform(0, 6 * np.pi), rng.integers(4, 7)
    sharpness = rng.uniform(0.5, 1)
    scale = rng.uniform(0.075, 0.2) * _side(image)
    y, x = (axis / scale for axis in _grid(image))
    frequency = period = damping = 1.0
    for _ in range(rounds):
        u = np.cos(y * frequency + time / period) / damping
        v = np.sin(x * frequency + time / period) / damping
        x, y = x + u - 0.3 * v, y + v + 0.3 * u
        frequency, period, damping = frequency * 1.93, period * 1.15, damping * (2.25 - sharpness)
    noise = [np.sin(x - time), np.sin((x + y + np.sin(time)) / 2), np.sin(y + time)]
    intensity = 6.4 * severity
    return (1 - intensity / 255) * image + intensity * np.stack(noise, axis=2)


def checkerboard_cutout(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Turns random white fields of a rotated chessboard grey."""
    height, width = image.shape[:2]
    angle = rng.uniform(0, FULL_TURN)
    field = max(rng.uniform(0.1, 0.25) * _side(image), 1)
    cells = int(4 * max(height, width) // field)
    drawn = rng.uniform(size=(cells, cells)) < severity / 10
    y, x = _grid(image)
    row = (np.cos(angle) * y + np.sin(angle) * x) / field
    column = (-np.sin(angle) * y + np.cos(angle) * x) / field
    white = (row % 2).astype(int) == (column % 2).astype(int)
    # astype rounds towards zero, as published: fields on both sides of an axis share a draw.
    grey = white & drawn[row.astype(int), column.astype(int)]
    return np.where(grey[..., None], 128, image)


def sparkles(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Adds five white stars."""
    side = _side(image)
    for y0, x0 in rng.uniform(0, side, (5, 2)):
        rays = _rays(rng, severity / 100 * side)
        light = _star(image, y0, x0, np.maximum(rays, 1), sharpness=1.0)
        image = image + light * (255 - image)
    return image


def inverse_sparkles(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Shows the image inside a star, with white around it."""
    side = _side(image)
    y0, x0 = rng.uniform(0.25, 0.75, 2) * side
    inside = _star(image, y0, x0, _rays(rng, side / 4), sharpness=0.13 * severity)
    return 255 + inside * (image - 255)


def perlin_noise(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Mixes in turbulence: the sum of the magnitudes of five octaves of gradient noise."""
    cell = 32 * _side(image) / 224
    y, x = (axis / cell for axis in _grid(image))
    turbulence = sum(abs(_gradient_noise(y * f, x * f, rng)) / f for f in (1, 2, 4, 8, 16))
    noise = np.clip(0.5 * turbulence + 0.5, 0, 1)[..., None]
    alpha = 0.05 * severity
    return (1 - alpha) * image + 255 * alpha * noise


def blue_noise_sample(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Turns pixels black where high-frequency noise is low."""
    noise = _spectral_noise(image, rng, lambda frequency: frequency)
    return image * (noise > 0.3 * severity - 2.5)[..., None]


def brownish_noise(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Adds low-frequency noise, drawn separately for each channel."""
    noise = [_spectral_noise(image, rng, lambda f: 1 / (f**2 + 1)) for _ in range(3)]
    return image + 6.4 * severity * np.stack(noise, axis=2)


def caustic_refraction(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Shows the image through moving water, whose slope refracts and lights it."""
    side = _side(image)
    time, size = rng.uniform(0.5, 2), rng.uniform(0.75, 1.25) * side
    surface = cv2.GaussianBlur(_caustics(image, time, size), (9, 9), 1, None, 1, cv2.BORDER_REFLECT)
    padded = np.pad(surface, 1)
    down = padded[2:, 1:-1] - padded[:-2, 1:-1]
    right = padded[1:-1, 2:] - padded[1:-1, :-2]
    slope = np.hypot(down, right)
    angle = np.arctan(slope)
    bend = np.sin(angle - np.arcsin(np.sin(angle) / 4)) * 0.05 * severity * side
    bend[np.cos(angle) >= 1 - 1e-3] = 0  # flat: the light is not refracted
    step = np.divide(bend, slope, out=np.zeros_like(slope), where=slope > 0)
    y, x = _grid(image)
    moved = cv2.remap(
        image.astype(np.float32),
        (x + np.round(step * right, 3)).astype(np.float32),
        (y + np.round(step * down, 3)).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )
    return moved + 255 * (0.2 * severity * (down - right))[..., None]


def _side(image: np.ndarray) -> int:
    return min(image.shape[:2])


def _grid(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every pixel, each (H, W)."""
    y, x = np.indices(image.shape[:2], dtype=np.float64)
    return y, x


def _rays(rng: Generator, radius: float) -> np.ndarray:
    """Lengths of a star's 50 to 199 rays."""
    count = rng.integers(50, 200)
    return radius * (1 + 0.25 * rng.standard_normal(count))


def _star(
    image: np.ndarray, y0: float, x0: float, rays: np.ndarray, sharpness: float
) -> np.ndarray:
    """Brightness (H, W, 1) in 0 to 1 of a star around (y0, x0)."""
    y, x = _grid(image)
    position = (np.arctan2(x - x0, y - y0) + np.pi) / FULL_TURN * len(rays)
    ray = position.astype(int)
    offset = position - ray
    length, next_length = rays[ray % len(rays)], rays[(ray + 1) % len(rays)]
    length = length + offset * (next_length - length)
    glow = (length**2 / ((y - y0) ** 2 + (x - x0) ** 2 + 1e-4)) ** sharpness
    return np.clip((1 - (offset - 0.5) ** 2) * glow, 0, 1)[..., None]


def _gradient_noise(y: np.ndarray, x: np.ndarray, rng: Generator) -> np.ndarray:
    """Perlin noise at points (H, W) of a lattice with random unit gradients."""
    rows, columns = int(y.max()) + 2, int(x.max()) + 2
    angle = rng.uniform(0, FULL_TURN, (rows, columns))
    down, right = np.cos(angle), np.sin(angle)
    i, j = y.astype(int), x.astype(int)
    fy, fx = y - i, x - j
    corner = {
        (a, b): down[i + a, j + b] * (fy - a) + right[i + a, j + b] * (fx - b)
        for a in (0, 1)
        for b in (0, 1)
    }
    sy, sx = fy**2 * (3 - 2 * fy), fx**2 * (3 - 2 * fx)
    top = corner[0, 0] + sx * (corner[0, 1] - corner[0, 0])
    bottom = corner[1, 0] + sx * (corner[1, 1] - corner[1, 0])
    return 1.5 * (top + sy * (bottom - top))


def _spectral_noise(image: np.ndarray, rng: Generator, power) -> np.ndarray:
    """Noise (H, W) of standard deviation 1 whose amplitude is a function of the frequency."""
    height, width = image.shape[:2]
    side = _side(image)
    y, x = _grid(image)
    frequency = np.hypot((y - height / 2) * side / height, (x - width / 2) * side / width)
    phase = rng.uniform(0, FULL_TURN, (height, width))
    # As published: the right half of the spectrum has the phases of the left half, rotated by 180
    # degrees.
    half = width - width // 2
    phase[:, half:] = phase[::-1, ::-1][:, half:]
    spectrum = np.roll(
        power(frequency) * np.exp(1j * phase), (height // 2, width // 2), axis=(0, 1)
    )
    noise = np.fft.ifft2(spectrum).real
    return noise / noise.std()


def _caustics(image: np.ndarray, time: float, size: float) -> np.ndarray:
    """The pattern of light on the ground of a pool, (H, W) in 0 to 1."""
    y, x = (axis / size % 1 * FULL_TURN - 250 for axis in _grid(image))
    u, v, light = y, x, 1.0
    for number in range(1, 6):
        t = time * (1 - 3.5 / number)
        u, v = y + np.cos(t - u) + np.sin(t + v), x + np.sin(t - v) + np.cos(t + u)
        light = light + 200 / np.hypot(y / np.sin(u + t), x / np.cos(v + t))
    light = 1.17 - (light / 5) ** 1.4
    return np.clip(abs(light) ** 8, 0, 1)


CORRUPTIONS = {
    "caustic_refraction": caustic_refraction,
    "inverse_sparkles": inverse_sparkles,
    "sparkles": sparkles,
    "perlin_noise": perlin_noise,
    "blue_noise_sample": blue_noise_sample,
    "plasma_noise": plasma_noise,
    "checkerboard_cutout": checkerboard_cutout,
    "cocentric_sine_waves": cocentric_sine_waves,
    "single_frequency_greyscale": single_frequency_greyscale,
    "brownish_noise": brownish_noise,
}
