"""A resumed run draws the random numbers that the uninterrupted one drew, whatever the task."""

import random

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from convnext_dense.weights import read_checkpoint
from tests.engine.test_loops import Line, Numbers, run
from tests.exact import assert_same_checkpoints

HOOKS = [dict(type="RandomStateHook")]


class Noisy(Line):
    """Adds a random number of each library to the loss, and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[tuple[float, float, float]] = []

    def forward(self, inputs, mode: str) -> dict:
        noise = random.random(), float(np.random.rand()), torch.rand(1).item()
        self.drawn.append(noise)
        loss = super().forward(inputs, mode)["loss"]
        return {"loss": loss * (1 + sum(noise))}


class Drawing(BaseMetric):
    """An evaluation that draws random numbers itself."""

    def process(self, data_batch, data_samples) -> None:
        random.random(), np.random.rand(), torch.rand(1)
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        return {"score": 1.0}


def evaluated() -> dict:
    return dict(
        val_dataloader=dict(
            dataset=Numbers(), batch_size=4, sampler=dict(type="DefaultSampler", shuffle=False)
        ),
        val_cfg=dict(type="ValLoop"),
        val_evaluator=[Drawing()],
    )


@pytest.mark.parametrize("stop", [5, pytest.param(12, marks=pytest.mark.slow)])
def test_inside_an_epoch_and_after_an_evaluation(tmp_path, monkeypatch, stop):
    monkeypatch.setattr("tests.engine.test_loops.Line", Noisy)
    loop = dict(type="ResumableEpochLoop", max_epochs=3)
    whole = run(tmp_path / "whole", dict(loop), custom_hooks=HOOKS, **evaluated())
    run(tmp_path / "cut", dict(loop, max_iters=stop), custom_hooks=HOOKS, **evaluated())
    for _ in range(7):
        random.random(), np.random.rand(), torch.rand(3)
    resumed = run(
        tmp_path / "cut",
        dict(loop),
        custom_hooks=HOOKS,
        load_from=str(tmp_path / f"cut/iter_{stop}.pth"),
        resume=True,
        **evaluated(),
    )
    assert resumed.model.drawn == whole.model.drawn[stop:]
    assert resumed.model.layer.weight.item() == whole.model.layer.weight.item()


def test_the_order_of_the_pictures_is_the_first_runs(tmp_path):
    """Where no seed is given, a resumed run has drawn another one."""
    loop = dict(type="ResumableEpochLoop", max_epochs=3)
    whole = run(tmp_path / "whole", dict(loop), custom_hooks=HOOKS)
    resumed = run(
        tmp_path / "again",
        dict(loop),
        custom_hooks=HOOKS,
        seed=77,
        load_from=str(tmp_path / "whole/iter_5.pth"),
        resume=True,
    )
    assert resumed.model.batches == whole.model.batches[5:]


def test_an_evaluation_that_is_not_repeated_leaves_no_trace(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.engine.test_loops.Line", Noisy)
    loop = dict(type="ResumableEpochLoop", max_epochs=3)
    options = dict(custom_hooks=HOOKS, by_epoch=True, **evaluated())
    whole = run(tmp_path / "whole", dict(loop), **options)
    path = str(tmp_path / "whole/epoch_2.pth")  # written before that epoch's evaluation
    resumed = run(tmp_path / "again", dict(loop), load_from=path, resume=True, **options)
    assert resumed.model.drawn == whole.model.drawn[12:]


@pytest.mark.parametrize("stop", [5, pytest.param(12, marks=pytest.mark.slow)])
def test_workers_that_persist_draw_as_those_of_a_resumed_run(tmp_path, monkeypatch, stop):
    """A loader draws a number where it makes workers; a resumed run makes them once more."""
    monkeypatch.setattr("tests.engine.test_loops.Line", Noisy)
    loop = dict(type="ResumableEpochLoop", max_epochs=3)

    def options() -> dict:
        data = dict(
            dataset=Numbers(),
            batch_size=2,
            num_workers=1,
            persistent_workers=True,
            sampler=dict(type="DefaultSampler", shuffle=True),
            collate_fn=dict(type="default_collate"),
        )
        return dict(custom_hooks=HOOKS, train_dataloader=data)

    whole = run(tmp_path / "whole", dict(loop), **options())
    run(tmp_path / "cut", dict(loop, max_iters=stop), **options())
    path = str(tmp_path / f"cut/iter_{stop}.pth")
    resumed = run(tmp_path / "cut", dict(loop), load_from=path, resume=True, **options())
    assert resumed.model.drawn == whole.model.drawn[stop:]


@pytest.mark.slow
def test_a_run_that_is_resumed_twice_keeps_its_first_seed(tmp_path):
    loop = dict(type="ResumableEpochLoop", max_epochs=3)
    whole = run(tmp_path / "whole", dict(loop), custom_hooks=HOOKS)
    path = tmp_path / "whole/iter_5.pth"
    for seed, stop in ((77, 10), (78, 18)):
        options = dict(load_from=str(path), resume=True, seed=seed, custom_hooks=HOOKS)
        resumed = run(tmp_path / "cut", dict(loop, max_iters=stop), **options)
        path = tmp_path / f"cut/iter_{stop}.pth"
    assert resumed.model.batches == whole.model.batches[10:]


class Falling(BaseMetric):
    """A score that gets worse, which lowers the rate after each evaluation."""

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        return {"score": -float(MessageHub.get_current_instance().get_info("iter"))}


@pytest.mark.parametrize(
    ("loop", "stop", "name"),
    [
        (dict(type="ResumableEpochLoop", max_epochs=4), 12, "epoch_2"),
        (dict(type="ResumableIterLoop", max_iters=24, val_interval=5), 10, "iter_10"),
    ],
)
@pytest.mark.slow
def test_a_rate_that_follows_a_score_misses_no_evaluation(tmp_path, loop, stop, name):
    """The checkpoint is from before the evaluation at the same place."""
    plateau = dict(type="ReduceOnPlateauLR", monitor="score", rule="greater", patience=0)

    def options() -> dict:
        content = evaluated()
        content["val_evaluator"] = [Falling()]
        by_epoch = "max_epochs" in loop
        return dict(content, param_scheduler=[plateau], by_epoch=by_epoch, custom_hooks=HOOKS)

    whole = run(tmp_path / "whole", dict(loop), **options())
    path = str(tmp_path / f"whole/{name}.pth")
    resumed = run(tmp_path / "again", dict(loop), load_from=path, resume=True, **options())
    assert resumed.optim_wrapper.get_lr() == whole.optim_wrapper.get_lr() != {"lr": [0.1]}
    assert torch.equal(resumed.model.layer.weight, whole.model.layer.weight)
    assert len(resumed.model.batches) == 24 - stop


class ScaledOnTheCpu(AmpOptimWrapper):
    """mmengine's mixed precision, which it refuses to do without a GPU."""

    def __init__(self, **kwargs) -> None:
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = None
        self.cast_dtype = torch.bfloat16
        self.loss_scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=3)


class Overflowing(Line):
    """A loss that is infinite at every fifth number that is drawn, on average."""

    def forward(self, inputs, mode: str) -> dict:
        loss = super().forward(inputs, mode)["loss"]
        return {"loss": loss * (float("inf") if random.random() < 0.2 else 1.0)}


@pytest.mark.parametrize("stop", [4, 7])
def test_the_scale_of_mixed_precision_goes_on(tmp_path, monkeypatch, stop):
    monkeypatch.setattr("tests.engine.test_loops.Line", Overflowing)
    loop = dict(type="ResumableEpochLoop", max_epochs=3)

    def options() -> dict:
        wrapper = dict(
            type=ScaledOnTheCpu, optimizer=dict(type="Adam", lr=0.1), accumulative_counts=2
        )
        hooks = [*HOOKS, dict(type="PartialStepHook"), dict(type="EMAHook")]
        return dict(custom_hooks=hooks, optim_wrapper=wrapper, checkpoint_interval=1)

    whole = run(tmp_path / "whole", dict(loop), **options())
    path = tmp_path / f"whole/iter_{stop}.pth"
    run(tmp_path / "again", dict(loop), load_from=str(path), resume=True, **options())
    assert_same_checkpoints(tmp_path / "whole/iter_18.pth", tmp_path / "again/iter_18.pth")
    assert ("gradients" in read_checkpoint(path)) is bool(stop % 2)
    assert whole.optim_wrapper.loss_scaler.get_scale() != 64.0
    assert not torch.isnan(whole.model.layer.weight)


def test_gradients_are_added_in_one_order(tmp_path):
    """Threads that add atomically do it in another order each time."""
    run(tmp_path, dict(type="ResumableEpochLoop", max_epochs=1))
    rows = torch.randint(0, 169, (49 * 49,), generator=torch.Generator().manual_seed(0))
    weight = torch.linspace(-1, 1, len(rows) * 24).view(-1, 24)
    torch.set_num_threads(2)
    try:
        found = []
        for _ in range(20):
            table = torch.zeros(169, 24, requires_grad=True)
            (table[rows] * weight).sum().backward()
            found.append(table.grad)
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(found[0], gradient) for gradient in found)
