"""Runs of 1 to 50 iterations: the largest learning rate is the page's, and no warmup keeps it low.

The schedules are stepped here by mmengine's own Runner methods, not by the code of the page.
"""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from convnext_dense.config.load import load_config
from convnext_dense.config.reading import read_config
from convnext_dense.data import fit_schedule as fitting
from convnext_dense.data.schedule_table import format_schedule_table, largest_rate
from convnext_dense.errors import UserError
from convnext_dense.optim.schedulers import check_schedule
from tests.datasets.test_labels import ADE
from tests.datasets.test_labels import SHAPES as LABEL_SHAPES
from tests.miniature import CONFIGS, SHAPES

ONE_X = CONFIGS / "mask_rcnn_convnext_t_1x.py"
CLASSIFIER = CONFIGS.parent / "classification/convnext_a_shapes.py"
LENGTHS = range(1, 51)


def rates_of_a_run(cfg, rate: float, per_epoch: int, iterations: int, accumulated=1) -> list[float]:
    """The rate of each iteration, as mmengine's Runner and its hook step the schedules."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    wrapper = OptimWrapper(optimizer, accumulative_counts=accumulated)
    runner = SimpleNamespace(train_dataloader=range(per_epoch), _train_loop=None)
    schedulers = Runner._build_param_scheduler(runner, cfg.param_scheduler, wrapper)
    rates = []
    for iteration in range(iterations):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or (iteration + 1) % per_epoch == 0:
                scheduler.step()
    return rates


def cells(table: str, row: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.strip().startswith(row)]
    return line.strip().removeprefix(row).split()


@pytest.mark.parametrize("trial", [False, True], ids=["whole", "trial"])
@pytest.mark.parametrize(
    "path",
    [SHAPES, LABEL_SHAPES, *(pytest.param(path, marks=pytest.mark.slow) for path in (ONE_X, ADE))],
    ids=lambda path: path.stem,
)
def test_own_data_of_every_short_length(monkeypatch, path, trial):
    loaded, recipe = load_config(path), read_config(path)
    batch = loaded.train_dataloader.batch_size
    loaded.train_dataloader.dataset.metainfo = dict(classes=["a"])
    loaded.train_dataloader.dataset.pop("ann_file", None)
    monkeypatch.setattr(fitting, "count_training_images", lambda cfg: batch)  # an iteration a pass
    for length in LENGTHS:
        cfg = deepcopy(loaded)
        epochs, stop = (1000, length) if trial else (length, None)
        found = fitting.fit_schedule(cfg, recipe, {}, epochs, processes=1)
        assert found.run.iterations == epochs and found.run.warmup != 1
        rates = rates_of_a_run(cfg, cfg.optim_wrapper.optimizer.lr, 1, length)
        table = format_schedule_table(cfg, recipe, found, stop)
        assert float(cells(table, "largest rate")[0]) == pytest.approx(max(rates), rel=1e-5)
        assert cells(table, "largest rate")[3] == f"{rates.index(max(rates)) + 1}"
        rate = float(cells(table, "learning rate")[1])
        if not trial:
            assert max(rates) == rate if length < 20 else 0.9 < max(rates) / rate < 1 + 1e-9


@pytest.mark.parametrize("accumulated", [1, pytest.param(2, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("per_epoch", [1, pytest.param(2, marks=pytest.mark.slow), 7])
def test_a_classifier_of_every_short_length(per_epoch, accumulated):
    """Its warmup counts epochs, and may be one step; ``--max-iters`` may end inside of it."""
    loaded = load_config(CLASSIFIER, cfg_options={"train_dataloader.batch_size": 16})
    batch = fitting.Batch(16, 1, accumulated)
    for warmup, epochs in ((0, 1), (1, 2), (1, 50), (3, 60)):
        cfg = deepcopy(loaded)
        cfg.train_cfg.max_epochs = epochs
        cfg.param_scheduler.update(warmup=warmup, end=epochs)
        for length in LENGTHS:
            cfg.train_cfg.max_iters = length
            plan = fitting.plan_of(cfg.train_cfg, per_epoch)
            assert plan.iterations == min(length, epochs * per_epoch)
            rate = cfg.optim_wrapper.optimizer.lr
            rates = rates_of_a_run(cfg, rate, per_epoch, plan.iterations, accumulated)
            told, where = largest_rate(cfg, plan, batch)
            assert float(told) == pytest.approx(max(rates), rel=1e-5)
            assert f"iteration {rates.index(max(rates)) + 1:,} of {plan.iterations:,};" in where
            past = max(warmup * per_epoch // accumulated, 1) * accumulated
            assert max(rates) == rate if length >= past else max(rates) <= rate
            assert max(rates) > 0 or warmup * per_epoch // accumulated > 1


@pytest.mark.parametrize("option", ["param_scheduler.0.end", "param_scheduler.1.end"])
def test_options_count_the_recipes_entries(monkeypatch, option):
    """The warmup is left out after they are applied; one that is given stays."""
    monkeypatch.setattr(fitting, "count_training_images", lambda cfg: 2)
    cfg = load_config(SHAPES, cfg_options={"train_dataloader.batch_size": 2})
    fitting.fit_schedule(cfg, read_config(SHAPES), {option: 5}, 10, processes=1)
    found = {entry["type"]: entry["end"] for entry in cfg.param_scheduler}
    if option.startswith("param_scheduler.0"):
        assert found == {"LinearLR": 5, "CosineAnnealingLR": 10}
    else:
        assert found == {"CosineAnnealingLR": 5}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=1), "start_factor=0.01"),
        (dict(type="ConstantLR", factor=0.1, begin=3, end=4), "single epoch"),
        (dict(type="LinearLR", start_factor=1.0, by_epoch=False, end=1), None),
        (dict(type="LinearLR", start_factor=0.1, end=1, convert_to_iter_based=True), None),
        (dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=2), None),
    ],
)
def test_a_warmup_that_nothing_ends_is_refused(entry, said):
    if said is None:
        check_schedule(dict(param_scheduler=[entry]))
        return
    with pytest.raises(UserError, match=said):
        check_schedule(dict(param_scheduler=entry))
