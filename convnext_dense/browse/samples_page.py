"""From a config to a folder of samples and statistics (``tools/browse_data.py``)."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from convnext_dense.atomic_files import make_folder, write_atomically
from convnext_dense.browse import drawing, samples
from convnext_dense.browse.fonts import drawing_names
from convnext_dense.browse.style import class_colours
from convnext_dense.config.config_tree import datasets
from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.errors import UserError
from convnext_dense.tasks import task_of


@dataclass(frozen=True)
class DataBrowser:
    """What a task shows of its data.

    Attributes:
        overlay: From a sample, the colours and names of the classes to an image of both.
        shown_classes: The labels that occur in a sample.
        collect: Reads the statistics of a split; its result has a ``summary`` for JSON.
        table: From that summary to lines for people.
        draw_charts: Draws the statistics into a file.
    """

    overlay: Callable[[samples.Sample, np.ndarray, tuple[str, ...]], Image.Image]
    shown_classes: Callable[[samples.Sample], list[int]]
    collect: Callable[..., Any]
    table: Callable[[dict[str, Any]], str]
    draw_charts: Callable[[Any, Path], None]


@safe_reading()
def browse(cfg: Config, split: str, out: Path, number: int, seed: int) -> str:
    """Draws samples of a split and writes its statistics.

    Writes ``sample_NN.jpg`` (the plain image beside the marked one), ``sheet.jpg``,
    ``statistics.json`` and ``statistics.png``.

    Args:
        cfg: Resolved config.
        split: ``train`` or ``val``.
        out: Folder for all of it.
        number: How many samples; fewer where the split has fewer.
        seed: Settles which images, and their augmentation.

    Returns:
        The statistics as a table.

    Raises:
        UserError: For a config of another task, or a split without images.
    """
    if number < 1:
        raise UserError(f"--number must be at least 1, got {number}.")
    browser = task_of(cfg).data_browser()
    if browser is None:
        raise UserError("This config's task cannot be browsed: detection and segmentation can.")
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return _browse(cfg, split, out, number, seed, browser)


def _browse(
    cfg: Config, split: str, out: Path, number: int, seed: int, browser: DataBrowser
) -> str:
    """The same in the scope of the task."""
    (config,) = datasets(cfg, split)
    dataset = samples.build_dataset(config, pipeline=samples.truth_first(config.pipeline))
    if not len(dataset):
        raise UserError(f"The {split} split holds no image that is used.")
    classes = tuple(dataset.metainfo["classes"])
    make_folder(out)
    statistics = browser.collect(cfg, split, dataset, classes)
    drawn = _draw_samples(cfg, split, dataset, browser, out, number, seed)
    with drawing_names(classes):
        browser.draw_charts(statistics, out / "statistics.png")
    content = {**statistics.summary, "seed": seed, "samples": drawn}
    write_atomically(out / "statistics.json", json.dumps(content, indent=2, ensure_ascii=False))
    return browser.table(statistics.summary)


def _draw_samples(
    cfg: Config, split: str, dataset: Any, browser: DataBrowser, out: Path, number: int, seed: int
) -> dict[str, str]:
    """Draws the samples and the contact sheet; returns ``{file: image}``."""
    classes = tuple(dataset.metainfo["classes"])
    colours = class_colours(len(classes))
    preprocessor = samples.build_preprocessor(cfg)
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:number]
    images, captions, seen, files = [], [], set(), {}
    for place, index in enumerate(chosen.tolist()):
        sample = samples.take(dataset, index, preprocessor, seed, training=split == "train")
        marked = browser.overlay(sample, colours, classes)
        shown = browser.shown_classes(sample)
        name = Path(sample.truth.img_path).name
        plain = Image.fromarray(sample.image).resize(marked.size, Image.Resampling.NEAREST)
        below = drawing.legend([classes[label] for label in shown], colours[shown], 2 * plain.width)
        caption = f"{name}, {samples.describe(sample.truth)}"
        file = f"sample_{place:0{len(str(number - 1))}}.jpg"
        drawing.page([plain, marked], caption, below).save(out / file, quality=90)
        images.append(marked)
        captions.append(caption if len(caption) < 60 else name)
        seen.update(shown)
        files[file] = sample.truth.img_path
    shown = sorted(seen)
    sheet = drawing.contact_sheet(
        images, captions, [classes[label] for label in shown], colours[shown]
    )
    sheet.save(out / "sheet.jpg", quality=90)
    return files
