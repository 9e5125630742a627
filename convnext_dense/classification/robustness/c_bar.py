"""The ten corruptions of ImageNet-C-bar (Mintun, Kirillov and Xie 2021, arXiv 2102.11273).

Written from the published parameters (appendix of the paper, and its data set's list of
severities). Every function maps a float32 RGB picture (H, W, 3) in 0 to 255, a severity on the
paper's scale of 0 to 10 and a random generator to a picture that need not be clipped. Lengths
that the paper gives for 224 x 224 pictures grow with the shorter side.
"""

import cv2
import numpy as np
from numpy.random import Generator

TURN = 2 * np.pi


def single_frequency_greyscale(picture: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Adds a plane wave of any frequency below the sampling limit."""
    first = rng.uniform(-np.pi, np.pi)
    second = rng.uniform(-abs(first), abs(first))
    along_x, along_y = rng.permutation([first, second])
    y, x = _grid(picture)
    wave = np.sin(x * along_x + y * along_y + rng.uniform(0, TURN))
    return picture + 19.6 * severity * wave[..., None]


def cocentric_sine_waves(picture: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Adds rings around a point whose radius waves with the angle; each a ramp of brightness."""
    side = _side(picture)
    y, x = _grid(picture)
    x0, y0 = rng.uniform(0, side, 2)
    waves, amplitude = rng.uniform(0, 10), rng.uniform(0, side / 10)
    width = rng.uniform(0, side / 10)
    radius = np.hypot(x - x0, y - y0) + amplitude * np.sin(waves * np.arctan2(x - x0, y - y0))
    return picture + 12.8 * severity * (radius % width / width - 0.5)[..., None]


def plasma_noise(picture: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Mixes in smooth coloured streaks: positions that sines of each other displace repeatedly."""
    time, rounds = rng.uniform(0, 6 * np.pi), rng.integers(4, 7)
    sharpness = rng.uniform(0.5, 1)
    scale = rng.uniform(0.075, 0.2) * _side(picture)
    y, x = (axis / scale for axis in _grid(picture))
    frequency = period = damping = 1.0
    for _ in range(rounds):
        u = np.cos(y * frequency + time / period) / damping
        v = np.sin(x * frequency + time / period) / damping
        x, y = x + u - 0.3 * v, y + v + 0.3 * u
        frequency, period, damping = frequency * 1.93, period * 1.15, damping * (2.25 - sharpness)
    noise = [np.sin(x - time), np.sin((x + y + np.sin(time)) / 2), np.sin(y + time)]
    intensity = 6.4 * severity
    return (1 - intensity / 255) * picture + intensity * np.stack(noise, axis=2)


def checkerboard_cutout(picture: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Greys out some of the white fields of a turned chessboard."""
    height, width = picture.shape[:2]
    angle = rng.uniform(0, TURN)
    field = max(rng.uniform(0.1, 0.25) * _side(picture), 1)
    cells = int(4 * max(height, width) // field)
    drawn = rng.uniform(size=(cells, cells)) < severity / 10
    y, x = _grid(picture)
    row = (np.cos(angle) * y + np.sin(angle) * x) / field
    column = (-np.sin(angle) * y + np.cos(angle) * x) / field
    white = (row % 2).astype(int) == (column % 2).astype(int)
    # Towards zero, as published: the fields on either side of an axis share their draw.
    grey = white & drawn[row.astype(int), column.astype(int)]
    return np.where(grey[..., None], 128, picture)


def sparkles(picture: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Five white stars."""
    side = _side(picture)
    for y0, x0 in rng.uniform(0, side, (5, 2)):
        rays = _rays(rng, severity / 100 * side)
        light = _star(picture, y0, x0, np.maximum(rays, 1), sharpness=1.0)
        picture = picture + light * (255 - picture)
    return picture


def inverse_sparkles(picture: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """One star through which the picture is seen; white around it."""
    side = _side(picture)
    y0, x0 = rng.uniform(0.25, 0.75, 2) * side
    seen = _star(picture, y0, x0, _rays(rng, side / 4), sharpness=0.13 * severity)
    return 255 + seen * (picture - 255)


def perlin_noise(picture: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Mixes in turbulence: five octaves of gradient noise, their magnitudes summed."""
    cell = 32 * _side(picture) / 224
    y, x = (axis / cell for axis in _grid(picture))
    turbulence = sum(abs(_gradient_noise(y * f, x * f, rng)) / f for f in (1, 2, 4, 8, 16))
    noise = np.clip(0.5 * turbulence + 0.5, 0, 1)[..., None]
    alpha = 0.05 * severity
    return (1 - alpha) * picture + 255 * alpha * noise


def blue_noise_sample(picture: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Blackens the pixels at which noise of high frequencies is low."""
    noise = _spectral_noise(picture, rng, lambda frequency: frequency)
    return picture * (noise > 0.3 * severity - 2.5)[..., None]


def brownish_noise(picture: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Adds noise of low frequencies, apart for each colour."""
    noise = [_spectral_noise(picture, rng, lambda f: 1 / (f**2 + 1)) for _ in range(3)]
    return picture + 6.4 * severity * np.stack(noise, axis=2)


def caustic_refraction(picture: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """The picture through moving water: bent and lit by the slope of its surface."""
    side = _side(picture)
    time, size = rng.uniform(0.5, 2), rng.uniform(0.75, 1.25) * side
    surface = cv2.GaussianBlur(
        _caustics(picture, time, size), (9, 9), 1, None, 1, cv2.BORDER_REFLECT
    )
    around = np.pad(surface, 1)
    down = around[2:, 1:-1] - around[:-2, 1:-1]
    right = around[1:-1, 2:] - around[1:-1, :-2]
    slope = np.hypot(down, right)
    inside = np.arctan(slope)
    bend = np.sin(inside - np.arcsin(np.sin(inside) / 4)) * 0.05 * severity * side
    bend[np.cos(inside) >= 1 - 1e-3] = 0  # so flat that light goes straight through
    step = np.divide(bend, slope, out=np.zeros_like(slope), where=slope > 0)
    y, x = _grid(picture)
    moved = cv2.remap(
        picture.astype(np.float32),
        (x + np.round(step * right, 3)).astype(np.float32),
        (y + np.round(step * down, 3)).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )
    return moved + 255 * (0.2 * severity * (down - right))[..., None]


def _side(picture: np.ndarray) -> int:
    return min(picture.shape[:2])


def _grid(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every pixel, each (H, W)."""
    y, x = np.indices(picture.shape[:2], dtype=np.float64)
    return y, x


def _rays(rng: Generator, radius: float) -> np.ndarray:
    """Lengths of a star's 50 to 199 rays."""
    count = rng.integers(50, 200)
    return radius * (1 + 0.25 * rng.standard_normal(count))


def _star(
    picture: np.ndarray, y0: float, x0: float, rays: np.ndarray, sharpness: float
) -> np.ndarray:
    """Brightness (H, W, 1) in 0 to 1 of a star around (y0, x0)."""
    y, x = _grid(picture)
    place = (np.arctan2(x - x0, y - y0) + np.pi) / TURN * len(rays)
    ray = place.astype(int)
    between = place - ray
    length, following = rays[ray % len(rays)], rays[(ray + 1) % len(rays)]
    length = length + between * (following - length)
    glow = (length**2 / ((y - y0) ** 2 + (x - x0) ** 2 + 1e-4)) ** sharpness
    return np.clip((1 - (between - 0.5) ** 2) * glow, 0, 1)[..., None]


def _gradient_noise(y: np.ndarray, x: np.ndarray, rng: Generator) -> np.ndarray:
    """Perlin's noise at points (H, W) of a lattice with random unit gradients."""
    rows, columns = int(y.max()) + 2, int(x.max()) + 2
    angle = rng.uniform(0, TURN, (rows, columns))
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


def _spectral_noise(picture: np.ndarray, rng: Generator, power) -> np.ndarray:
    """Noise (H, W) of standard deviation 1 whose amplitude is a function of the frequency."""
    height, width = picture.shape[:2]
    side = _side(picture)
    y, x = _grid(picture)
    frequency = np.hypot((y - height / 2) * side / height, (x - width / 2) * side / width)
    phase = rng.uniform(0, TURN, (height, width))
    # As published, the right half of the spectrum has the left half's phases, turned round.
    half = width - width // 2
    phase[:, half:] = phase[::-1, ::-1][:, half:]
    spectrum = np.roll(
        power(frequency) * np.exp(1j * phase), (height // 2, width // 2), axis=(0, 1)
    )
    noise = np.fft.ifft2(spectrum).real
    return noise / noise.std()


def _caustics(picture: np.ndarray, time: float, size: float) -> np.ndarray:
    """The web of light on the ground of a pool, (H, W) in 0 to 1."""
    y, x = (axis / size % 1 * TURN - 250 for axis in _grid(picture))
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
