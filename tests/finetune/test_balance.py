"""Repeat factor sampling: the rule, the draws of an epoch, the sampler, and its table."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.dataset import ClassBalancedDataset
from mmengine.registry import DefaultScope
from torch.utils.data import BatchSampler

from convnext_dense.data.fit import load_fitted_config, settle_with_data
from convnext_dense.data.fit_schedule import batch_of, iterations_per_epoch
from convnext_dense.engine.augmentation_seeds import SeededBatches
from convnext_dense.engine.runner import DenseRunner
from convnext_dense.errors import UserError
from convnext_dense.finetune import balanced_sampler
from convnext_dense.finetune.balance import (
    Shares,
    balance,
    draw_repeats,
    epoch_length,
    format_shares,
    mean_share,
    repeat_factors,
)
from convnext_dense.finetune.balanced_sampler import BalancedSampler
from convnext_dense.finetune.settle_data import settle_data
from convnext_dense.tasks import load_task
from tests.datasets.test_labels import SHAPES as LABEL_SHAPES
from tests.miniature import CONFIGS

IMAGES = [{0}] * 60 + [{0, 1}] * 25 + [{1, 2}] * 9 + [{3}] * 2 + [set()] * 4
DETECTOR = CONFIGS / "mask_rcnn_convnext_a_shapes.py"
CLASSIFIER = CONFIGS.parent / "classification/convnext_a_shapes.py"


class Listed:
    """A dataset that knows the classes of its images, for mmengine's wrapper and ours."""

    def __init__(self, classes=IMAGES) -> None:
        self.classes = classes

    def __len__(self) -> int:
        return len(self.classes)

    def get_cat_ids(self, index: int) -> list[int]:
        return list(self.classes[index])


@pytest.fixture
def sampler(monkeypatch):
    """Builds the sampler of a rank over :class:`Listed`."""

    def build(rank: int = 0, world: int = 1, **settings) -> BalancedSampler:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mmengine.dataset.sampler.get_dist_info", lambda: (rank, world))
            return BalancedSampler(Listed(), "listed", 0.25, seed=5, **settings)

    task = SimpleNamespace(classes_of_images=lambda dataset: dataset.classes)
    monkeypatch.setattr(balanced_sampler, "load_task", lambda name: task)
    return build


@pytest.mark.parametrize("threshold", [0.01, 0.1, 0.25, 1.0])
def test_the_factors_are_those_of_the_paper(threshold):
    wrapper = ClassBalancedDataset.__new__(ClassBalancedDataset)
    wrapper.dataset = Listed()
    expected = wrapper._get_repeat_factors(Listed(), threshold)
    assert np.allclose(repeat_factors(IMAGES, threshold), expected)
    assert repeat_factors(IMAGES, 0.08)[-5] == pytest.approx(2)  # 2 of 100: the root of 0.08 / 0.02


def test_an_epoch_draws_each_factor_on_average_and_has_one_length():
    factors = repeat_factors(IMAGES, 0.25)
    drawn = [draw_repeats(factors, np.random.default_rng(n)) for n in range(4000)]
    length = epoch_length(factors)
    assert factors.sum() <= length < factors.sum() + 1 and {d.sum() for d in drawn} == {length}
    scaled = factors * length / factors.sum()
    for one in drawn:  # a factor of 2.3 is 2 or 3
        assert (one >= np.floor(scaled - 1e-9)).all() and (one <= np.ceil(scaled + 1e-9)).all()
    spread = np.sqrt((scaled % 1) * (1 - scaled % 1) / len(drawn))
    assert (np.abs(np.mean(drawn, axis=0) - scaled) <= 5 * spread + 1e-9).all()
    assert len({tuple(one) for one in drawn}) > 1000  # another choice in each epoch


def test_an_order_follows_from_seed_and_epoch(sampler):
    one, other = sampler(), sampler()
    assert list(one) == list(other) and len(list(one)) == len(one) == epoch_length(one.factors)
    other.set_epoch(1)
    assert list(one) != list(other)
    one.set_epoch(1)
    assert list(one) == list(other)
    assert len(sampler(step_size=8)) == len(one) // 8 * 8


def test_repeats_are_other_views_in_whatever_process(sampler):
    """Two processes: each copy of an image has a seed of its own."""
    seeds = Counter()
    total = 0
    for rank in (0, 1):
        found = sampler(rank, world=2)
        for batch in SeededBatches(BatchSampler(found, 4, drop_last=False), seed=1):
            seeds.update(batch)
            total += len(batch)
    assert total == found.total_size and max(seeds.values()) == 1
    assert max(Counter(index for index, _ in seeds).values()) > 2


def test_other_data_than_the_schedule_counts_is_refused(sampler):
    with pytest.raises(UserError, match="epoch_images is 7, but this data gives"):
        sampler(epoch_images=7)


def options(folder: str = "mini/") -> dict:
    return {"train_dataloader.dataset.data_root": folder, "train_dataloader.batch_size": 2}


@pytest.mark.parametrize(
    ("config", "folder"),
    [(DETECTOR, "mini/"), (LABEL_SHAPES, "mini/"), (CLASSIFIER, "mini/cls/train")],
    ids=["detector", "segmentor", "classifier"],
)
def test_a_config_gets_the_sampler_and_counts_its_draws(config, folder, data_root):
    cfg = load_fitted_config(
        config, data_root=data_root, splits=("train",), cfg_options=options(folder)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convnext_dense.finetune.balance.mean_share", lambda found: 2.0)
        shares = balance(cfg)
    drawn = cfg.train_dataloader.sampler.epoch_images
    assert drawn == shares.epoch_images > shares.images
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        loader = DenseRunner.build_dataloader(cfg.train_dataloader, seed=3)
    assert len(loader) == iterations_per_epoch(cfg, shares.images, batch_of(cfg, 1))
    # The shares of an epoch are those of the table, within a draw an image.
    sampler = loader.batch_sampler.sampler
    assert len(sampler) == drawn
    labels = load_task(cfg.train_dataloader.sampler.task).classes_of_images(loader.dataset)
    counts = Counter(label for index in sampler for label in labels[index])
    for label, share in enumerate(shares.after):
        assert abs(counts[label] - share * drawn) <= shares.images
    table = format_shares(shares)
    assert f"draws {drawn} images of {shares.images}" in table
    assert all(name in table for name in cfg.train_dataloader.dataset.metainfo.classes)


def test_a_rare_class_comes_first_and_gains():
    shares = Shares(("many", "few", "never"), np.array([0.9, 0.1, 0.0]), np.array([0.8, 0.2, 0.0]),
                    100, 120)  # fmt: skip
    lines = format_shares(shares).splitlines()
    assert [line.split() for line in lines[2:4]] == [
        ["few", "10.0%", "20.0%"],
        ["many", "90.0%", "80.0%"],
    ]
    assert lines[4] == "  no image shows 1 of 3 classes"


def test_the_threshold_is_the_mean_share():
    shares = [sum(label in shown for shown in IMAGES) / len(IMAGES) for label in range(4)]
    assert mean_share(IMAGES) == pytest.approx(np.mean(shares), rel=1e-3)
    assert mean_share([{label} for label in range(5)] * 3) == pytest.approx(1 / 5)
    assert mean_share([set(), set()]) == 0


def test_another_sampler_is_not_replaced(data_root):
    settled = settle_with_data(
        DETECTOR,
        data_root=data_root,
        splits=("train",),
        cfg_options={**options(), "train_dataloader.sampler.type": "InfiniteSampler"},
    )
    flags = SimpleNamespace(few=False, augment=None, balance=True)
    with pytest.raises(UserError, match="has InfiniteSampler: leave out --balance"):
        settle_data(settled, flags)
