"""Speed of a config's data loading: decoding, augmentation and the whole loader, by workers.

``decode`` reads and decodes images, ``augment`` transforms decoded images, and ``loader`` does both
as in a training, with batches passed to the training process. Each is a stream of batches, measured
in consecutive rounds.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader, Dataset

from convnext_dense.benchmark.timing import Summary, summarise
from convnext_dense.config.safe_reading import safe_reading
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.errors import UserError

STAGES = ("decode", "augment", "loader")
WORKERS = (0, 1, 2, 4)
ROUND_S = 0.5  # seconds
DECODED_SAMPLES = 32  # on which augmentation is measured
PREFETCHED = 2  # batches that a worker prefetches, torch's default


@dataclass(frozen=True)
class LoadingSpeed(Summary):
    """The speed of one stage with a number of workers.

    Attributes:
        config: The config file.
        stage: A name in ``STAGES``; ``ratio`` is to decoding's images/s.
        workers: Number of worker processes; with 0 the training process loads the data.
        batch_size: Images per batch.
        rounds: Number of timed rounds.
    """

    config: str
    stage: str
    workers: int
    batch_size: int
    rounds: int


class _FunctionDataset(Dataset):
    """Calls a function with each index, and drops the result."""

    def __init__(self, function: Callable[[int], Any], length: int) -> None:
        self.function, self.length = function, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        self.function(index)
        return index


@safe_reading()
def measure(
    config: str,
    data_root: str | None = None,
    workers: Sequence[int] = WORKERS,
    batch_size: int | None = None,
    rounds: int = 10,
    cfg_options: dict[str, Any] | None = None,
) -> list[LoadingSpeed]:
    """Measures a config's data loading.

    Args:
        config: Config file.
        data_root: As in training.
        workers: Numbers of worker processes.
        batch_size: Images per batch instead of the config's.
        rounds: Rounds of half a second each.
        cfg_options: As in training.

    Returns:
        Three rows for each number of workers.

    Raises:
        UserError: For missing data, or a dataset whose stages cannot be separated.
    """
    if min(workers) < 0 or rounds < 1 or (batch_size is not None and batch_size < 1):
        raise UserError("--workers must be at least 0, --rounds and --batch-size at least 1.")
    cfg = load_fitted_config(
        config, data_root=data_root, cfg_options=cfg_options, splits=("train",)
    )
    set_multi_processing(**cfg.env_cfg.mp_cfg)  # as in a training: OpenCV with one thread
    size = batch_size or cfg.train_dataloader.batch_size
    rows = []
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        for count in workers:
            for stage, speed in _measure_stages(cfg, size, count, rounds).items():
                rows.append(
                    LoadingSpeed(
                        **speed,
                        config=config,
                        stage=stage,
                        workers=count,
                        batch_size=size,
                        rounds=rounds,
                    )
                )
    return rows


def _measure_stages(cfg: Config, batch_size: int, workers: int, rounds: int) -> dict[str, dict]:
    """Stage -> the fields of its :class:`Summary`; the ratio is to decoding."""
    loaders = _loaders(cfg, batch_size, workers)
    rates = np.array([_rates(loader, batch_size, workers, rounds) for loader in loaders])
    medians = np.median(rates, axis=1)
    speeds = {}
    for stage, rate, median in zip(STAGES, rates, medians, strict=True):
        (summary,) = summarise(rate[None])
        speeds[stage] = {**asdict(summary), "ratio": float(median / medians[0])}
    return speeds


def _loaders(cfg: Config, batch_size: int, workers: int) -> list[DataLoader]:
    """The three stages' loaders, with complete batches only."""
    settings = deepcopy(cfg.train_dataloader)
    settings.update(batch_size=batch_size, num_workers=workers, persistent_workers=workers > 0)
    (settings.get("batch_sampler") or settings).drop_last = True
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        whole = Runner.build_dataloader(settings, seed=0)
    if len(whole.dataset) < batch_size:
        raise UserError(
            f"The {len(whole.dataset)} training images make no batch of {batch_size}: lower "
            "--batch-size."
        )
    decode, augment = split_pipeline(whole.dataset)
    samples = [decode(index) for index in range(min(DECODED_SAMPLES, len(whole.dataset)))]
    calls = (decode, lambda index: augment(deepcopy(samples[index % len(samples)])))
    options = dict(batch_size=batch_size, shuffle=True, drop_last=True, collate_fn=len)
    options |= dict(num_workers=workers, persistent_workers=workers > 0)
    stages = (_FunctionDataset(call, len(whole.dataset)) for call in calls)
    return [*(DataLoader(stage, **options) for stage in stages), whole]


def split_pipeline(dataset: Dataset) -> tuple[Callable[[int], Any], Callable[[Any], Any]]:
    """A dataset's function that decodes the image of an index, and the one that augments it.

    Raises:
        UserError: For a dataset whose stages cannot be separated.
    """
    if isinstance(dataset, BaseDataset):
        pipeline = dataset.pipeline.transforms
        loading = [step for step in pipeline if type(step).__name__.startswith("Load")]
        others = [step for step in pipeline if step not in loading]
        return lambda index: _run(loading, dataset.get_data_info(index)), lambda sample: _run(
            others, sample
        )
    try:
        return dataset.decode, dataset.augment
    except AttributeError as error:
        raise UserError(
            f"Decoding and augmentation of a {type(dataset).__name__} cannot be separated: "
            "measure the dataset inside it."
        ) from error


def _run(transforms: Sequence[Callable], sample: Any) -> Any:
    for transform in transforms:
        sample = transform(sample)
        if sample is None:  # the pipeline skips this image
            break
    return sample


def _batches(loader: DataLoader) -> Iterator:
    while True:
        yield from loader


def _rates(loader: DataLoader, batch_size: int, workers: int, rounds: int) -> list[float]:
    """Images/s of consecutive rounds, after the workers have started."""
    stream = _batches(loader)
    for _ in range(1 + PREFETCHED * workers):
        next(stream)
    rates = []
    for _ in range(rounds):
        start, count = perf_counter(), 0
        while (elapsed := perf_counter() - start) < ROUND_S or not count:
            next(stream)
            count += 1
        rates.append(count * batch_size / elapsed)
    return rates


def format_table(rows: Sequence[LoadingSpeed]) -> str:
    """A plain table of one config: images/s of the stages, one line per number of workers."""
    lines = ["workers" + "".join(f"  {f'{stage} images/s (quartiles)':>32}" for stage in STAGES)]
    for count in dict.fromkeys(row.workers for row in rows):
        cells = [
            f"{row.images_per_s:.1f} ({row.quartiles[0]:.1f} to {row.quartiles[1]:.1f})"
            for row in rows
            if row.workers == count
        ]
        lines.append(f"{count:7}" + "".join(f"  {cell:>32}" for cell in cells))
    first = rows[0]
    lines.append(
        f"{first.config}, batches of {first.batch_size}, {first.rounds} rounds; augment transforms "
        "decoded images."
    )
    return "\n".join(lines)
