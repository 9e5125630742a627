"""Fits a config to the bands of its images: channels, range of values, normalisation.

Images of 8-bit colours or grey among colours leave a config as it is. For others the model gets as
many channels as the images have bands, and the mean and deviation of the training images; all of it
stands in the resolved config, so that a test and a prediction read as the training did.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from PIL import Image

from convnext_dense.config.config_tree import datasets
from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.data.bands.reading import PNG, RGB, Bands, Reading, measured_range
from convnext_dense.data.bands.settings import (
    Start,
    apply,
    is_stated,
    loaders,
    reading_of,
    take_over,
)
from convnext_dense.data.bands.tiff import MAGIC, read_tags
from convnext_dense.data.images import read_bands
from convnext_dense.errors import UserError
from convnext_dense.tasks import Task

SAMPLE = 32  # images of a split whose bands are looked at
MEASURED = 100  # training images that are measured
MOSTLY = 0.5  # share of pixels between nothing and all, from which a fourth band is no transparency
LEAST = 1e-3  # deviation, on the scale of 8 bits; a band below it has one value
COLOUR_STEPS = ("PhotoMetricDistortion",)  # steps that know 8-bit colours alone


@dataclass(frozen=True)
class Look:
    """What a look at an image showed.

    Attributes:
        path: The file.
        bands: All of its bands.
        colours: Without one that is tagged as transparency and looks like it.
        kind: The name of its type, such as ``uint8``.
    """

    path: str
    bands: int
    colours: int
    kind: str

    def serves(self, channels: int) -> bool:
        """Whether a model of some channels can read it."""
        if channels == RGB:
            return self.colours in (1, RGB) or self.bands > RGB
        return channels in (self.bands, self.colours) or (channels == 1 and self.colours == RGB)


def fit_bands(
    settled: SettledConfig,
    task: Task,
    splits: Sequence[str],
    value_range: tuple[float, float] | None = None,
    start: Callable[[], Start | None] = lambda: None,
) -> None:
    """Fits a config to the bands of its images.

    Args:
        settled: A config that was fitted to its data's classes.
        task: Its task.
        splits: The splits whose data is there; the first one is measured.
        value_range: ``--value-range``: the values that become 0 and 255.
        start: Gives what the checkpoint that the run starts from says; asked only where needed.

    Raises:
        UserError: For images of different bands, or of others than the model's.
    """
    cfg = settled.cfg
    if not loaders(cfg) or "data_preprocessor" not in cfg.model:
        return
    files = {split: _files(cfg, task, split) for split in splits}
    sample = [path for paths in files.values() for path in _spread(paths, SAMPLE)]
    looks = [one for path in sample if (one := look(path)) is not None]
    stated = cfg.model.get("backbone", {}).get("in_channels")
    if not looks or (_are_plain(looks) and stated in (None, RGB) and not value_range):
        _check_stated(cfg, looks)
        return
    begun = start()
    if begun and begun.config:
        with settled.changing("the checkpoint's images") as changed:
            if take_over(changed, begun.config):
                task.use_channels(changed)
    fixed = reading_of(cfg).channels if is_stated(cfg) else stated or (begun and begun.channels)
    channels = _channels(looks, fixed)
    if is_stated(cfg) and not value_range:
        return
    measured = next(paths for paths in files.values() if paths)
    _measure(settled, task, _spread(measured, MEASURED), channels, value_range)


def _files(cfg: Any, task: Task, split: str) -> list[str]:
    return [path for data in task.datasets(cfg, split) for path in task.image_paths(cfg, data)]


def _spread(paths: Sequence[str], count: int) -> list[str]:
    numbers = np.linspace(0, len(paths) - 1, min(len(paths), count)).round().astype(int)
    return [paths[number] for number in np.unique(numbers)]


def _are_plain(looks: Sequence[Look]) -> bool:
    """Whether 8-bit colours are among them, and beside them at most grey."""
    return {(one.colours, one.kind) for one in looks} <= {(1, "uint8"), (RGB, "uint8")} and any(
        one.colours == RGB for one in looks
    )


def look(path: str) -> Look | None:
    """Looks at an image's bands; at the header alone where that says them.

    Returns:
        None for an image that cannot be read: the check of the data says which and why.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(26)
        tags = read_tags(Path(path).read_bytes(), str(path)) if head[:4] in MAGIC else None
        is_deep = not tags.is_plain if tags else head[:8] == PNG and head[24] > 8
        if not is_deep:
            with Image.open(path) as image:
                bands = len(image.getbands())
                grey = image.mode in ("1", "L", "LA")
            return Look(path, 1 if grey else max(bands, RGB), 1 if grey else RGB, "uint8")
        bands = read_bands(path)
    except (OSError, SyntaxError, ValueError, IndexError, UserError):
        return None
    pixels = bands.pixels
    colours = pixels.shape[2] - (bands.transparency and not _is_measured(bands))
    return Look(path, pixels.shape[2], colours, pixels.dtype.name)


def _is_measured(bands: Bands) -> bool:
    """Whether a band that is tagged as transparency holds something else, such as infrared.

    Transparency is all or nothing nearly everywhere; writers tag any fourth band with it.
    """
    last = bands.pixels[..., -1]
    return float(np.mean((last > last.min()) & (last < last.max()))) > MOSTLY


def _channels(looks: Sequence[Look], fixed: int | None) -> int:
    """The channels of the model.

    Raises:
        UserError: For images of different bands, or of others than a fixed number.
    """
    counts = {one.colours: one for one in looks}
    if fixed is None and set(counts) <= {1, RGB}:
        return RGB if RGB in counts else 1
    if fixed is None and len(counts) > 1:
        shown = ", ".join(f"{one.path} has {count}" for count, one in sorted(counts.items()))
        raise UserError(
            f"The images have different numbers of bands ({shown}): give all of them the same, or "
            "state how many are read with --cfg-options model.backbone.in_channels=3."
        )
    channels = fixed or next(iter(counts))
    for one in looks:
        if not one.serves(channels):
            raise UserError(
                f"{one.path} has {one.bands} bands, but the model takes {channels} channels "
                "(model.backbone.in_channels, or the checkpoint's): state the images' number, or "
                "train on images that have as many."
            )
    return channels


def _check_stated(cfg: Any, looks: Sequence[Look]) -> None:
    """A config that was fitted to other images is not trained on plain ones."""
    if is_stated(cfg):
        _channels(looks, reading_of(cfg).channels)


def _measure(
    settled: SettledConfig,
    task: Task,
    paths: Sequence[str],
    channels: int,
    value_range: tuple[float, float] | None,
) -> None:
    """Measures images, and states what a model needs to know of them.

    Raises:
        UserError: For a range that is given for images of 8 bits.
    """
    looks = [one for path in paths if (one := look(path)) is not None]
    paths = [one.path for one in looks]
    deep = [one.path for one in looks if one.kind != "uint8"]
    if value_range and not deep:
        raise UserError("--value-range is for images of more than 8 bits; these have 8: omit it.")
    if channels == RGB and not deep:
        return
    found, how = _range(deep, value_range)
    reading = Reading(channels, found)
    mean, std = _moments(reading.of_bands(read_bands(path), path) for path in paths)
    kinds = "/".join(sorted({one.kind for one in looks}))
    scaled = f", {found[0]:g} to {found[1]:g} ({how}) become 0 to 255" if found else ""
    reason = f"images of {channels} bands of {kinds}{scaled}; normalised as {len(paths)} of them"
    with settled.changing(reason) as cfg:
        apply(cfg, reading)
        preprocessor = cfg.model.data_preprocessor
        preprocessor.update(mean=mean, std=std)
        if channels != RGB:
            preprocessor.bgr_to_rgb = False
            task.use_channels(cfg)
        left_out = _leave_out_colour_steps(cfg)
    print_log(f"{reason[0].upper()}{reason[1:]}.{left_out}")


def _range(
    deep: Sequence[str], value_range: tuple[float, float] | None
) -> tuple[tuple[float, float] | None, str]:
    """The values that become 0 and 255 in files of more than 8 bits, and where they come from."""
    if value_range or not deep:
        return value_range, "--value-range"
    declared = {read_bands(path).declared for path in deep}
    if len(declared) == 1 and (stated := declared.pop()) is not None:
        return stated, "declared"
    return measured_range((read_bands(path).colours for path in deep), deep[0]), "measured"


def _moments(images: Iterable[np.ndarray]) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel over the pixels of images, which exist one at a time."""
    count, sums, squares = 0, 0.0, 0.0
    for image in images:
        pixels = image.reshape(-1, image.shape[2]).astype(np.float64)
        count, sums = count + len(pixels), sums + pixels.sum(axis=0)
        squares = squares + (pixels**2).sum(axis=0)
    mean = sums / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    std[std < LEAST] = 1.0
    return mean.round(3).tolist(), std.round(3).tolist()


def _leave_out_colour_steps(cfg: Any) -> str:
    """Takes steps that know 8-bit colours alone out of the training; says which."""
    left_out = []
    for dataset in datasets(cfg, "train"):
        steps = [s for s in dataset.pipeline if str(s.type).split(".")[-1] not in COLOUR_STEPS]
        left_out += [s.type for s in dataset.pipeline if s not in steps]
        dataset.pipeline = steps
    if not left_out:
        return ""
    return f" {', '.join(dict.fromkeys(left_out))} is left out: it is made for 8-bit colours."
