"""``--balance``: images of rare classes are shown more often (repeat factor sampling).

The rule of the LVIS paper (https://arxiv.org/abs/1908.03195): a class that a share f of the images
shows has the factor max(1, sqrt(t / f)), an image the largest factor of its classes. The paper's
threshold t is 0.001 for 1,203 classes. Here it is the mean share of the classes, so that the rule
says something of any data: a class that fewer images show than the average one is rare.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from convnext_dense.config.reading import add_import
from convnext_dense.data.check_images import build_dataset
from convnext_dense.errors import UserError
from convnext_dense.tasks import task_of
from convnext_dense.text_table import format_columns

SAMPLER = "BalancedSampler"
# Samplers that it may replace: they draw each image once an epoch.
REPLACED = ("DefaultSampler", "ImageSampler", SAMPLER)
SHOWN_CLASSES = 20


@dataclass(frozen=True)
class Shares:
    """How often classes are seen, by the images that show them.

    Attributes:
        classes: Names, by label.
        before, after: Share of the images that are drawn in an epoch (classes,).
        images: Images of the data.
        epoch_images: Images that an epoch draws.
    """

    classes: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray
    images: int
    epoch_images: int


def mean_share(classes_of_images: Sequence[set[int]]) -> float:
    """Share of the images that show a class, on average over the classes that occur."""
    shown = set().union(*classes_of_images)
    total = sum(map(len, classes_of_images))
    return float(f"{total / max(1, len(shown) * len(classes_of_images)):.4g}")  # stands in a config


def repeat_factors(classes_of_images: Sequence[set[int]], threshold: float) -> np.ndarray:
    """How often an epoch shows each image on average, at least 1 (images,).

    Args:
        classes_of_images: The classes of each image; an image may have none.
        threshold: Share of the images below which a class is rare.
    """
    total = len(classes_of_images)
    counts: dict[int, int] = {}
    for classes in classes_of_images:
        for label in classes:
            counts[label] = counts.get(label, 0) + 1
    factors = {label: max(1.0, (threshold * total / n) ** 0.5) for label, n in counts.items()}
    return np.array(
        [max((factors[label] for label in classes), default=1.0) for classes in classes_of_images]
    )


def epoch_length(factors: np.ndarray) -> int:
    """Images that each epoch draws: the sum of the factors, rounded up."""
    return ceil(round(float(factors.sum()), 6))


def draw_repeats(factors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How often one epoch shows each image (images,).

    An image of factor 2.3 is shown twice or three times, 2.3 times on average (systematic
    sampling). All epochs have the same length, which the loop counts on to resume; independent
    draws of the fractions would make them differ.
    """
    length = epoch_length(factors)
    order = rng.permutation(len(factors))
    ends = np.cumsum(factors[order] * (length / factors.sum()))
    ends[-1] = length
    marks = np.floor(np.concatenate([[0], ends]) + rng.random()).astype(int)
    repeats = np.empty(len(factors), int)
    repeats[order] = np.diff(marks)
    return repeats


def balance(cfg: Any) -> Shares:
    """Puts the balanced sampler into a config.

    Args:
        cfg: A config that was fitted to its data; changed in place.

    Raises:
        UserError: For data whose classes are not known, or a sampler with an order of its own.
    """
    loader, task = cfg.train_dataloader, task_of(cfg)
    sampler = loader.get("sampler") or {}
    if sampler.get("type") not in REPLACED:
        raise UserError(
            f"--balance takes the place of the sampler {REPLACED[0]}, and train_dataloader has "
            f"{sampler.get('type')}: leave out --balance, or set train_dataloader.sampler.type."
        )
    dataset = build_dataset(cfg, loader.dataset)
    names = tuple(dataset.metainfo["classes"])
    found = task.classes_of_images(dataset)
    threshold = mean_share(found)
    factors = repeat_factors(found, threshold)
    add_import(cfg, "convnext_dense.finetune.balanced_sampler")
    kept = {"step_size": sampler.step_size} if "step_size" in sampler else {}
    loader.sampler = dict(
        type=SAMPLER,
        task=task.name,
        threshold=threshold,
        epoch_images=epoch_length(factors),
        **kept,
    )
    shows = np.zeros((len(found), len(names)), bool)
    for row, classes in zip(shows, found, strict=True):
        row[list(classes)] = True
    return Shares(
        names, shows.mean(0), factors @ shows / factors.sum(), len(found), epoch_length(factors)
    )


def format_shares(shares: Shares) -> str:
    """The table of shares, the rarest class first."""
    shown = np.flatnonzero(shares.before)
    order = shown[np.argsort(shares.before[shown], kind="stable")]
    rows = [("class", "images before", "after")]
    for label in order[:SHOWN_CLASSES]:
        rows.append(
            (shares.classes[label], f"{shares.before[label]:.1%}", f"{shares.after[label]:.1%}")
        )
    lines = [f"  {line}" for line in format_columns(rows, ("<", ">", ">"))]
    if len(order) > SHOWN_CLASSES:
        lines.append(f"  and {len(order) - SHOWN_CLASSES} more, of larger shares")
    if never := len(shares.classes) - len(order):
        lines.append(f"  no image shows {never} of {len(shares.classes)} classes")
    title = (
        f"--balance: an epoch draws {shares.epoch_images:,} images of {shares.images:,}; share of "
        "those that show a class"
    )
    return "\n".join([title, *lines, ""])
