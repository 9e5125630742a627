"""A resumed run draws the random numbers that the uninterrupted one drew, whatever the task."""

import random

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric

from tests.engine.test_loops import Line, Numbers, run

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


@pytest.mark.parametrize("stop", [5, 12])
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


@pytest.mark.parametrize("stop", [5, 12])
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
