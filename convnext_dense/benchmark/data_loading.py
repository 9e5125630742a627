"""Speed of a config's training input: decoding, augmentation, the whole loader, by workers.

``decode`` reads and decodes pictures, ``augment`` transforms pictures that are decoded already,
``loader`` is what a training gets: both, batches made and handed to the training process. Each is a
stream of batches; its rounds follow one another.
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
KEPT = 32  # decoded pictures that augmentation is measured on
PREFETCHED = 2  # batches that a worker has ready, torch's default


@dataclass(frozen=True)
class Reading(Summary):
    """One stage's figures with a number of workers.

    Attributes:
        config: The config file.
        stage: A name in ``STAGES``; ``ratio`` is to decoding's images/s.
        workers: Worker processes; 0 where the training process reads.
        batch_size: Pictures of a batch.
        rounds: Rounds that were timed.
    """

    config: str
    stage: str
    workers: int
    batch_size: int
    rounds: int


class _Calls(Dataset):
    """Calls a function with as many indices as asked for, and drops what it returns."""

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
) -> list[Reading]:
    """Measures a config's training input.

    Args:
        config: Config file.
        data_root: As in training.
        workers: Numbers of worker processes.
        batch_size: Pictures of a batch instead of the config's.
        rounds: Rounds of half a second each.
        cfg_options: As in training.

    Returns:
        Three rows for each number of workers.

    Raises:
        UserError: For missing data, or a data set without steps to tell apart.
    """
    if min(workers) < 0 or rounds < 1 or (batch_size is not None and batch_size < 1):
        raise UserError("--workers must be at least 0, --rounds and --batch-size at least 1.")
    cfg = load_fitted_config(
        config, data_root=data_root, cfg_options=cfg_options, splits=("train",)
    )
    set_multi_processing(**cfg.env_cfg.mp_cfg)  # as in training: OpenCV in one thread
    size = batch_size or cfg.train_dataloader.batch_size
    found = []
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        for count in workers:
            loaders = _loaders(cfg, size, count)
            rates = np.array([_rates(loader, size, count, rounds) for loader in loaders])
            medians = np.median(rates, axis=1)
            for stage, rate, median in zip(STAGES, rates, medians, strict=True):
                (summary,) = summarise(rate[None])
                figures = {**asdict(summary), "ratio": float(median / medians[0])}
                found.append(Reading(**figures, config=config, stage=stage, workers=count,
                                     batch_size=size, rounds=rounds))  # fmt: skip
    return found


def _loaders(cfg: Config, batch_size: int, workers: int) -> list[DataLoader]:
    """The three stages' loaders, of whole batches."""
    settings = deepcopy(cfg.train_dataloader)
    settings.update(batch_size=batch_size, num_workers=workers, persistent_workers=workers > 0)
    (settings.get("batch_sampler") or settings).drop_last = True
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools' chatter
        whole = Runner.build_dataloader(settings, seed=0)
    if len(whole.dataset) < batch_size:
        raise UserError(
            f"The {len(whole.dataset)} training pictures make no batch of {batch_size}: lower "
            "--batch-size."
        )
    decode, augment = steps(whole.dataset)
    kept = [decode(index) for index in range(min(KEPT, len(whole.dataset)))]
    calls = (decode, lambda index: augment(deepcopy(kept[index % len(kept)])))
    options = dict(batch_size=batch_size, shuffle=True, drop_last=True, collate_fn=len)
    options |= dict(num_workers=workers, persistent_workers=workers > 0)
    return [*(DataLoader(_Calls(call, len(whole.dataset)), **options) for call in calls), whole]


def steps(dataset: Dataset) -> tuple[Callable[[int], Any], Callable[[Any], Any]]:
    """How a data set decodes the picture of an index, and how it transforms what is decoded.

    Raises:
        UserError: For a data set of which that is not known.
    """
    if isinstance(dataset, BaseDataset):
        pipeline = dataset.pipeline.transforms
        loading = [step for step in pipeline if type(step).__name__.startswith("Load")]
        others = [step for step in pipeline if step not in loading]
        return lambda index: _run(loading, dataset.get_data_info(index)), lambda r: _run(others, r)
    try:
        return dataset.decode, dataset.augment
    except AttributeError as error:
        raise UserError(
            f"Decoding and augmentation of a {type(dataset).__name__} cannot be told apart: "
            "measure the data set inside of it."
        ) from error


def _run(transforms: Sequence[Callable], sample: Any) -> Any:
    for transform in transforms:
        sample = transform(sample)
        if sample is None:  # a pipeline that gave this picture up
            break
    return sample


def _batches(loader: DataLoader) -> Iterator:
    while True:
        yield from loader


def _rates(loader: DataLoader, batch_size: int, workers: int, rounds: int) -> list[float]:
    """Images/s of rounds one after another, once the workers have started."""
    stream = _batches(loader)
    for _ in range(1 + PREFETCHED * workers):
        next(stream)
    rates = []
    for _ in range(rounds):
        start, count = perf_counter(), 0
        while (took := perf_counter() - start) < ROUND_S or not count:
            next(stream)
            count += 1
        rates.append(count * batch_size / took)
    return rates


def format_table(found: Sequence[Reading]) -> str:
    """A plain table of one config: images/s of the stages, a line a number of workers."""
    lines = ["workers" + "".join(f"  {f'{stage} images/s (quartiles)':>32}" for stage in STAGES)]
    for count in dict.fromkeys(one.workers for one in found):
        cells = [
            f"{one.images_per_s:.1f} ({one.quartiles[0]:.1f} to {one.quartiles[1]:.1f})"
            for one in found
            if one.workers == count
        ]
        lines.append(f"{count:7}" + "".join(f"  {cell:>32}" for cell in cells))
    first = found[0]
    lines.append(
        f"{first.config}, batches of {first.batch_size}, {first.rounds} rounds; augment transforms "
        "pictures that are decoded already."
    )
    return "\n".join(lines)
