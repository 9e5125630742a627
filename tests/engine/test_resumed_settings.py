"""A run resumed with other settings, against a run that had them from the start."""

import math
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

from convnext_dense.config.plain import read_plain
from convnext_dense.engine.resuming.images import changed_rows
from convnext_dense.errors import UserError
from tests.engine.resumed import COSINE, config, train
from tests.exact import assert_same_checkpoints

EACH = {"default_hooks.checkpoint.interval": 1}
TWO = {"optim_wrapper.accumulative_counts": 2}
LONGER = {"train_cfg.max_epochs": 20}
POLY = [dict(COSINE[0]), dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, end=40)]
# Of ten epochs and of twenty: in epochs, in iterations, and as long as the run without saying so.
SCHEDULES = {
    "cosine": (COSINE, [COSINE[0], dict(COSINE[1], end=80)]),
    "poly": (POLY, [POLY[0], dict(POLY[1], end=80)]),
    "steps": (
        [COSINE[0], dict(type="MultiStepLR", by_epoch=True, end=10, milestones=[6, 9])],
        [COSINE[0], dict(type="MultiStepLR", by_epoch=True, end=20, milestones=[12, 18])],
    ),
    "warmup-cosine": (
        [dict(type="WarmupCosineLR", warmup=1, end=10, convert_to_iter_based=True)],
        [dict(type="WarmupCosineLR", warmup=1, end=20, convert_to_iter_based=True)],
    ),
    "no-end": (
        [dict(type="CosineAnnealingLR", eta_min_ratio=0.01, convert_to_iter_based=True)],
        [dict(type="CosineAnnealingLR", eta_min_ratio=0.01, convert_to_iter_based=True)],
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _plain_text():
    # Formatting the config for each checkpoint takes longer than the training.
    def text(cfg: Config) -> str:
        return "".join(f"{key} = {value!r}\n" for key, value in cfg.to_dict().items())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, "pretty_text", property(text))
        yield


def told(runner, row: str) -> list[str]:
    """The cells of a row of the last table in the log."""
    text = max(Path(runner.work_dir).glob("*/*.log")).read_text()
    lines = [line.strip() for line in text[text.rindex("Resumed from") :].splitlines()]
    return next(line for line in lines if line.startswith(row)).removeprefix(row).split()


def begin(work_dir: Path, changes: dict | None = None, stop: int | None = None):
    return train(work_dir, {**(changes or {}), **({"train_cfg.max_iters": stop} if stop else {})})


@pytest.mark.parametrize("stated", ["schedule-and-length", "length-alone"])
@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("at", [pytest.param(40, marks=pytest.mark.slow), 26])
def test_a_longer_run_has_the_schedule_of_its_length(tmp_path, kind, stated, at):
    short, long = SCHEDULES[kind]
    whole = train(tmp_path / "whole", {**LONGER, "param_scheduler": long}).model.rates
    former = begin(tmp_path / "run", {"param_scheduler": short}, stop=at).model.rates
    given = long if stated == "schedule-and-length" else short
    runner = train(tmp_path / "run", {**LONGER, "param_scheduler": given}, resume=at)
    rates = runner.model.rates
    assert len(former) == at and len(rates) == 80 - at
    rise = (80 - at) // 10
    assert rates[rise:] == pytest.approx(whole[at + rise :], rel=1e-9, abs=1e-12)
    # no jump up: from the rate that it had, in equal steps
    assert rates[0] < max(1.1 * former[-1], 1e-6)
    assert rates[:rise] == sorted(rates[:rise]) or former[-1] > 0.8 * whole[at]
    assert max(rates) > 5 * rates[-1]  # not all of it at the lowest rate
    assert float(told(runner, "largest rate from here")[0]) == pytest.approx(max(rates), rel=1e-3)
    assert float(told(runner, "rate at the end")[0]) == pytest.approx(
        rates[-1], rel=1e-3, abs=1e-12
    )
    assert told(runner, "length")[:4] == ["10", "epochs", "20", "epochs"]


def test_the_longer_cosine_by_hand(tmp_path):
    begin(tmp_path)
    rates = train(tmp_path, LONGER, resume=40).model.rates
    hand = [0.1 * (0.01 + 0.99 * (1 + math.cos(math.pi * t / 80)) / 2) for t in range(40, 80)]
    assert rates[4:] == pytest.approx(hand[4:], rel=1e-4)
    assert rates[0] == pytest.approx(0.001, rel=0.2)  # where the first run ended


@pytest.mark.parametrize("restart", [False, True])
def test_the_same_command_once_more_goes_on_exactly(tmp_path, restart):
    changes = {**LONGER, **EACH, **({"resumed_schedule": dict(restart=True)} if restart else {})}
    begin(tmp_path / "run")
    whole = train(tmp_path / "run", changes, resume=40)
    assert "begins anew" in Path(max(tmp_path.glob("run/*/*.log"))).read_text() or not restart
    for at in (42, 55):
        shutil.copytree(tmp_path / "run", tmp_path / f"again{at}")
        again = train(tmp_path / f"again{at}", changes, resume=at)
        assert again.model.rates == whole.model.rates[at - 40 :]
        assert_same_checkpoints(tmp_path / f"again{at}/iter_80.pth", tmp_path / "run/iter_80.pth")
        assert again.cfg.resumed_schedule == whole.cfg.resumed_schedule
        assert again.cfg.param_scheduler == whole.cfg.param_scheduler


def written(runner) -> Config:
    return Config.fromfile(runner.config_file)


@pytest.mark.parametrize("restart", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_written_config_is_true(tmp_path, restart):
    """A run of it from the start has the rates of the resumed one, from that iteration on."""
    changes = {**LONGER, **({"resumed_schedule": dict(restart=True)} if restart else {})}
    begin(tmp_path / "run", stop=22)
    runner = train(tmp_path / "run", changes, resume=22)
    cfg = written(runner)
    fresh = train(tmp_path / "fresh", {**LONGER, "param_scheduler": cfg.param_scheduler})
    assert fresh.model.rates[22:] == runner.model.rates
    assert cfg.train_cfg.max_epochs == 20 and cfg.resumed_schedule.iteration == 22


@pytest.mark.slow
def test_a_warm_restart_begins_with_the_warmup_and_the_full_rate(tmp_path):
    begin(tmp_path)
    runner = train(tmp_path, {**LONGER, "resumed_schedule": dict(restart=True)}, resume=40)
    fresh = train(tmp_path / "fresh").model.rates  # ten epochs from the start
    assert runner.model.rates == pytest.approx(fresh)
    assert told(runner, "largest rate from here")[0] == f"{max(fresh):.4g}"


def test_a_restart_of_a_finished_run_is_refused(tmp_path):
    begin(tmp_path)
    with pytest.raises(
        UserError, match="40 iterations, and all of them are done: .* longer length"
    ):
        train(tmp_path, {"resumed_schedule": dict(restart=True)}, resume=40)


def test_lengthened_twice(tmp_path):
    begin(tmp_path)
    train(tmp_path, LONGER, resume=40)
    runner = train(tmp_path, {"train_cfg.max_epochs": 30}, resume=80)
    long = [COSINE[0], dict(COSINE[1], end=120)]
    whole = train(tmp_path / "whole", {"train_cfg.max_epochs": 30, "param_scheduler": long})
    assert runner.model.rates[4:] == pytest.approx(whole.model.rates[84:])


@pytest.mark.parametrize("at", [3, 17])
def test_a_changed_rate_and_decay_take_effect(tmp_path, at):
    changes = {"optim_wrapper.optimizer.lr": 0.03, "optim_wrapper.optimizer.weight_decay": 0.2}
    changes["optim_wrapper.optimizer.betas"] = (0.8, 0.99)
    whole = train(tmp_path / "whole", changes).model.steps
    begin(tmp_path / "run", stop=at)
    runner = train(tmp_path / "run", changes, resume=at)
    assert runner.model.steps == whole[at:]
    groups = runner.optim_wrapper.optimizer.param_groups
    assert [group["initial_lr"] for group in groups] == pytest.approx([0.03, 0.003])
    assert told(runner, "learning rate") == ["0.1", "0.03"]
    assert told(runner, "weight decay") == ["0.05", "0.2"]
    assert "resumed_schedule" not in runner.cfg


def test_a_decay_alone_leaves_the_schedule_exactly(tmp_path):
    whole = begin(tmp_path / "run", EACH)
    runner = train(tmp_path / "run", {"optim_wrapper.optimizer.weight_decay": 0.0}, resume=13)
    assert runner.model.rates == whole.model.rates[13:]
    assert {step["weight_decay"] for step in runner.model.steps} == {0.0}


@pytest.mark.parametrize("at", [1, 4, 17, 40])
def test_without_a_change_nothing_is_touched(tmp_path, at):
    whole = begin(tmp_path / "run", EACH)
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    again = train(tmp_path / "again", resume=at)
    assert again.model.rates == whole.model.rates[at:]
    assert_same_checkpoints(tmp_path / "again/iter_40.pth", tmp_path / "run/iter_40.pth")
    log = max(tmp_path.glob("again/*/*.log")).read_text()
    assert "Nothing is left" in log if at == 40 else "goes on as it would have" in log


ITERATIONS = {
    "train_cfg": dict(_delete_=True, type="ResumableIterLoop", max_iters=40),
    "param_scheduler": [dict(type="PolyLR", by_epoch=False, begin=0, end=40)],
}


@pytest.mark.parametrize("counted", [{}, ITERATIONS], ids=["epochs", "iterations"])
def test_a_stop_inside_a_step_is_resumed_exactly(tmp_path, counted):
    """``--max-iters`` is no multiple of ``--accumulate``: the step is taken when it is whole."""
    changes = {**TWO, **EACH, **counted}
    train(tmp_path / "whole", changes)
    train(tmp_path / "run", {**changes, "train_cfg.max_iters": 3})
    train(tmp_path / "run", changes, resume=3)
    assert_same_checkpoints(tmp_path / "run/iter_40.pth", tmp_path / "whole/iter_40.pth")


STEPS = [dict(type="LoadNumber"), dict(type="Flip", prob=(0.5,)), dict(type="PackNumber")]
BEST = dict(type="CheckpointHook", interval=1, by_epoch=False, save_best="score", rule="greater")
STOP = dict(type="EarlyStopHook", monitor="score", rule="greater", patience=2)


@pytest.mark.parametrize(
    ("changes", "row", "cells"),
    [
        ({}, None, []),
        (
            {"train_dataloader.dataset.pipeline": [STEPS[0], dict(type="Mosaic"), STEPS[2]]},
            "Flip", ["Mosaic"],
        ),
        (
            {"train_dataloader.dataset.pipeline": [STEPS[0], dict(STEPS[1], prob=1), STEPS[2]]},
            "training images", ["LoadNumber", "LoadNumber", "other", "settings"],
        ),
        (
            {"train_dataloader.sampler": dict(type="BalancedSampler", threshold=0.1)},
            "sampler", ["DefaultSampler", "BalancedSampler"],
        ),
        ({"default_hooks.checkpoint": BEST}, "save best", ["none", "score"]),
        ({"custom_hooks": [STOP]}, "early stop", ["none", "after", "2", "evaluations"]),
        (
            {"custom_hooks": [dict(type="WeightAverageHook", decay=0.9)]},
            "averaged weights", ["none", "decay", "0.9", "begins", "here,"],
        ),
    ],
    ids=["none", "step", "setting", "sampler", "best", "stop", "average"],
)  # fmt: skip
def test_changed_images_and_scores_are_told(tmp_path, changes, row, cells):
    """What the checkpoint's config has and what this run has; neither is built or trained."""
    stated = {"train_dataloader.dataset.pipeline": STEPS}
    before, now = config(tmp_path, stated), config(tmp_path, {**stated, **changes})
    saved = read_plain(before.pretty_text)  # as a checkpoint has it
    rows = [" ".join(filter(None, cells)).split() for cells in changed_rows(saved, now)]
    assert bool(rows) == bool(changes)
    assert not rows or [*row.split(), *cells] in [
        one[: len(row.split()) + len(cells)] for one in rows
    ]
    assert not changed_rows({}, now)  # of an unknown run nothing is told


def test_an_average_that_is_not_kept_is_told(tmp_path):
    hook = dict(type="WeightAverageHook", decay=None)
    before, now = config(tmp_path, {"custom_hooks": [hook]}), config(tmp_path, {})
    (row,) = changed_rows(read_plain(before.pretty_text), now)
    assert row[:3] == ("averaged weights", "decay by the length", "none")
    assert row[3] == "ends here: --average-weights keeps it"


def test_a_changed_sampler_is_not_called_unchanged(tmp_path):
    begin(tmp_path, EACH)
    runner = train(tmp_path, {"train_dataloader.sampler.type": "InfiniteSampler"}, resume=38)
    assert told(runner, "sampler") == ["DefaultSampler", "InfiniteSampler"]
    assert "goes on as it would have" not in max(tmp_path.glob("*/*.log")).read_text()


@pytest.mark.parametrize("stop", [4, 9])
def test_a_trial_first_and_the_whole_run_after_it(tmp_path, stop):
    """``--max-iters`` is no other length, also where a run counts iterations."""
    loop = {"train_cfg": dict(type="ResumableIterLoop", max_iters=40, _delete_=True)}
    whole = train(tmp_path / "whole", loop)
    train(tmp_path / "run", {"train_cfg": dict(loop["train_cfg"], max_iters=stop)})
    runner = train(tmp_path / "run", loop, resume=stop)
    assert runner.model.rates == whole.model.rates[stop:]
    assert_same_checkpoints(tmp_path / "run/iter_40.pth", tmp_path / "whole/iter_40.pth")
    # and a trial after the run has begun
    runner = train(
        tmp_path / "run", {"train_cfg": dict(loop["train_cfg"], max_iters=20)}, resume=stop
    )
    assert runner.model.rates == whole.model.rates[stop:20]


def test_another_batch_goes_on_by_epochs(tmp_path):
    begin(tmp_path, EACH, stop=20)
    runner = train(tmp_path, {"train_dataloader.batch_size": 4}, resume=20)
    assert runner.iter == 20  # five epochs of two
    passes = [sorted(sum(runner.model.images[i : i + 2], [])) for i in range(0, 10, 2)]
    assert passes == [list(range(8))] * 5
    assert told(runner, "place")[-3:] == ["epoch", "5", "done"]
    with pytest.raises(UserError, match="iteration 18, inside of epoch 5, of a run with 4 iter"):
        train(tmp_path, {"train_dataloader.batch_size": 4}, resume=18)


def test_another_batch_moves_a_schedule_in_epochs(tmp_path):
    epochs = {"param_scheduler": SCHEDULES["warmup-cosine"][0]}
    begin(tmp_path / "run", epochs, stop=20)
    changes = {**epochs, "train_dataloader.batch_size": 4}
    whole = train(tmp_path / "whole", changes).model.rates
    assert train(tmp_path / "run", changes, resume=20).model.rates == whole[10:]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optim_wrapper.optimizer": dict(type="SGD", lr=0.1, _delete_=True), **TWO},
            "holds the state of AdamW, which SGD cannot go on with",
        ),
        (
            {"optim_wrapper.paramwise_cfg": None, **TWO},
            "has 2 parameter groups, this run 1",
        ),
        (
            {"optim_wrapper.accumulative_counts": 3},
            "inside of a step of 2 batches, and this run has 3 a step: resume with --accumulate 2",
        ),
    ],
)
def test_what_cannot_take_effect_is_refused(tmp_path, changes, message):
    begin(tmp_path, {**TWO, **EACH}, stop=8)
    with pytest.raises(UserError, match=message):
        train(tmp_path, changes, resume=5)


def test_a_schedule_that_follows_a_score(tmp_path):
    plateau = {"param_scheduler": [dict(type="ReduceOnPlateauLR", monitor="loss", by_epoch=True)]}
    begin(tmp_path, plateau, stop=20)
    assert len(train(tmp_path, {**plateau, **LONGER}, resume=20).model.rates) == 60
    with pytest.raises(UserError, match="ReduceOnPlateauLR follows the evaluations"):
        train(tmp_path, {**plateau, "optim_wrapper.optimizer.lr": 0.2}, resume=20)


def test_checkpoints_of_earlier_versions(tmp_path, monkeypatch):
    """They hold no length of an epoch, or no config that can be read."""
    with monkeypatch.context() as patch:
        patch.setattr("convnext_dense.engine.runner.EPOCH_LENGTH", "of no use")
        begin(tmp_path / "run")
    runner = train(tmp_path / "run", LONGER, resume=40)
    assert max(runner.model.rates) > 0.04
    with monkeypatch.context() as patch:
        patch.setattr(Config, "pretty_text", property(lambda cfg: "no config"))
        whole = begin(tmp_path / "blind", EACH)
        again = train(tmp_path / "blind", resume=17)
    assert again.model.rates == whole.model.rates[17:]
    assert told(again, "length")[:3] == ["?", "10", "epochs"]
    config(tmp_path)
