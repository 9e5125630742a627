"""Images draw from their own seed: whoever reads them, in whatever order, however often."""

import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, DefaultSampler
from torch.utils.data import BatchSampler, DataLoader, Dataset

from convnext_dense.engine.augmentation_seeds import SeededBatches, SeededDataset, seeded


class Drawing(Dataset):
    """Each sample is its index and a number of each library."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> list[float]:
        return [float(index), random.random(), float(np.random.rand()), torch.rand(1).item()]


class GivingUp(BaseDataset):
    """mmdet's way: a pipeline that gives an image up half of the time; another one is drawn."""

    def load_data_list(self) -> list[dict]:
        return [dict(number=number) for number in range(12)]

    def prepare_data(self, index: int) -> list[float] | None:
        return [float(index), np.random.rand()] if np.random.rand() < 0.5 else None


def loader_of(dataset: Dataset, workers: int = 0) -> DataLoader:
    plain = DataLoader(
        dataset,
        batch_sampler=BatchSampler(DefaultSampler(dataset, seed=0), 4, drop_last=False),
        num_workers=workers,
        collate_fn=list,
        persistent_workers=workers > 0,
    )
    return seeded(plain, seed=7)


def epochs(loader: DataLoader) -> list[list]:
    """Two epochs, and the second one once more from its second batch on."""
    found = []
    for epoch, skip in ((0, 0), (1, 0), (1, 1)):
        loader.batch_sampler.start(epoch, skip)
        loader.batch_sampler.sampler.set_epoch(epoch)
        found.append(list(loader))
    return found


@pytest.mark.parametrize(
    "dataset",
    [Drawing, pytest.param(GivingUp, marks=pytest.mark.slow)],
    ids=["drawing", "giving up"],
)
def test_neither_workers_nor_a_start_inside_an_epoch_matter(dataset):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = epochs(loader_of(dataset()))
    first, second, rest = expected
    assert rest == second[1:] and len(first) == len(second) == 3
    views = {index: rest for index, *rest in sum(first, [])}
    again = {index: rest for index, *rest in sum(second, [])}
    assert all(views[index] != again[index] for index in views if index in again)
    for workers in (1, 2):
        assert epochs(loader_of(dataset(), workers)) == expected


def test_the_global_numbers_are_given_back():
    states = []
    for read in (False, True):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        sample = SeededDataset(Drawing())[3, 99] if read else None
        states.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert states[0] == states[1] and sample[0] == 3
    assert SeededDataset(Drawing())[3, 99] == sample != SeededDataset(Drawing())[3, 98]


def test_a_picture_that_is_drawn_twice_is_seen_in_two_ways():
    twice = SeededBatches([[0, 1], [0, 0]], seed=0)
    (zero, _), (second, third) = twice
    assert len({zero, second, third}) == 3
    assert [item[0] for item in (zero, second, third)] == [0, 0, 0]
    twice.start(epoch=0, skip=1)
    assert list(twice) == [[second, third]]


def test_neighbours_draw_as_if_by_chance():
    """Mean, variance and correlation of uniform numbers, within five standard errors."""
    (batch,) = SeededBatches([list(range(4000))], seed=0)
    drawn = np.array([np.random.RandomState(seed).rand(2) for _, seed in batch])
    error = 5 / np.sqrt(len(drawn))
    assert np.allclose(drawn.mean(0), 0.5, atol=error * np.sqrt(1 / 12))
    assert np.allclose(drawn.var(0), 1 / 12, atol=error * np.sqrt(1 / 180))
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < error
    assert abs(np.corrcoef(drawn.T)[0, 1]) < error


def test_all_else_is_the_datasets():
    dataset = Drawing()
    wrapped = SeededDataset(dataset)
    dataset.metainfo = dict(classes=("a",))
    assert wrapped.metainfo is dataset.metainfo and len(wrapped) == 12
    wrapped.pipeline = "another"  # as mmdet's PipelineSwitchHook does
    assert dataset.pipeline == "another" and "pipeline" not in vars(wrapped)
    assert pickle.loads(pickle.dumps(wrapped)).pipeline == "another"
    with pytest.raises(AttributeError):
        wrapped.nothing  # noqa: B018
