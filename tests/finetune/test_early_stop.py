"""The end of a training whose score gets no better; its count survives a resume."""

import math
import random
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from convnext_dense.errors import UserError
from convnext_dense.finetune.early_stop import stop_early
from convnext_dense.runs.checkpointing import newest_whole
from convnext_dense.runs.early_stop import SAVED, EarlyStopHook
from convnext_dense.segmentation.mean_iou import MeanIoUMetric
from convnext_dense.weights import read_checkpoint
from tests.engine.toy_run import toy_runner
from tests.exact import PARTS, assert_equal

SCORES = [0.1, 0.4, 0.4, 0.3, 0.5, 0.5, 0.2, 0.1, 0.9]  # patience 3 ends after the eighth


def scored_runner(folder, epochs: int, patience: int, resume: bool = False, scores=SCORES):
    """A toy run whose evaluation after epoch n gives the n-th score."""
    hook = dict(type="EarlyStopHook", monitor="score", patience=patience)
    runner = toy_runner(folder, epochs, resume=resume, hooks=[hook])
    metric = runner._val_evaluator[0]
    metric.model_score = lambda: scores[runner.epoch - 1]
    return runner


def first_end(scores: list[float], patience: int, sign: int = 1) -> int:
    """The evaluation that ends a run, counted from 1, by looking at the whole history."""
    for count in range(1, len(scores) + 1):
        seen = [-math.inf if math.isnan(s) else sign * s for s in scores[:count]]
        best_at = seen.index(max(seen)) if max(seen) > -math.inf else -1
        if count - 1 - best_at >= patience:
            return count
    return len(scores) + 1


@pytest.mark.parametrize("rule", ["greater", "less"])
def test_the_count_is_that_of_the_whole_history(rule):
    draw = random.Random(0)
    for _ in range(300):
        scores = [draw.choice([0.1, 0.2, 0.3, math.nan]) for _ in range(12)]
        patience = draw.randint(1, 4)
        hook = EarlyStopHook("score", patience, rule)
        runner = fake_runner()
        for count, score in enumerate(scores, start=1):
            runner.iter = count
            for _ in range(draw.randint(1, 2)):  # a resumed run evaluates again
                hook.after_val_epoch(runner, dict(score=score))
            if runner.train_loop.stop_training:
                break
        else:
            count += 1
        assert count == first_end(scores, patience, -1 if rule == "less" else 1), scores


def fake_runner() -> SimpleNamespace:
    info: dict = {}
    hub = SimpleNamespace(runtime_info=info, update_info=info.__setitem__)
    logger = SimpleNamespace(info=lambda text: None)
    return SimpleNamespace(
        message_hub=hub, train_loop=SimpleNamespace(stop_training=False), logger=logger, iter=0
    )


def test_a_run_ends_early_and_whole(tmp_path):
    runner = scored_runner(tmp_path, 9, patience=3)
    runner.train()
    assert runner.epoch == 8
    assert newest_whole(tmp_path).name == "epoch_8.pth"
    assert [path.name for path in tmp_path.glob("best_*")] == ["best_score_epoch_5.pth"]
    line = "Early stop at iteration 16: score has not been better than 0.5000 (iteration 10)"
    assert f"{line} for 3 evaluations." in log(runner)


def test_one_that_gets_better_runs_to_its_end(tmp_path):
    runner = scored_runner(tmp_path, 4, patience=1, scores=[0.1, 0.2, 0.3, 0.4])
    runner.train()
    assert runner.epoch == 4 and "Early stop" not in log(runner)


@pytest.mark.parametrize("broken_off", [1, 3, 6, 7])
def test_a_resumed_run_ends_where_the_unbroken_one_does(tmp_path, broken_off):
    # mmengine keeps what runs of one name remember, as long as a process lives.
    folder, other = (tmp_path / f"{tmp_path.name}_{name}" for name in ("resumed", "whole"))
    whole = scored_runner(other, 9, patience=3)
    whole.train()
    first = scored_runner(folder, 9, patience=3)
    first.train_loop._max_epochs = broken_off  # a kill after this epoch
    first.train_loop._max_iters = 2 * broken_off
    first.train()
    second = scored_runner(folder, 9, patience=3, resume=True)
    second.train()
    assert second.epoch == whole.epoch == 8
    contents = [read_checkpoint(run / "epoch_8.pth") for run in (other, folder)]
    for part in PARTS:
        assert_equal(*(content.get(part) for content in contents), part)
    states = [run.message_hub.runtime_info[SAVED] for run in (whole, second)]
    assert states[0] == states[1]


def test_a_run_that_has_ended_stays_so_and_more_patience_goes_on(tmp_path):
    scored_runner(tmp_path, 9, patience=3).train()
    again = scored_runner(tmp_path, 9, patience=3, resume=True)
    again.train()
    assert again.epoch == 8 and newest_whole(tmp_path).name == "epoch_8.pth"
    longer = scored_runner(tmp_path, 9, patience=4, resume=True)
    longer.train()
    assert longer.epoch == 9 and (tmp_path / "best_score_epoch_9.pth").is_file()


def test_a_run_that_counts_iterations_stops_inside_of_an_epoch(tmp_path):
    """Its last step is saved, whatever the interval of checkpoints."""
    hook = dict(type="EarlyStopHook", monitor="score", patience=2)
    runner = toy_runner(tmp_path, 9, hooks=[hook])
    runner._train_loop = dict(type="ResumableIterLoop", max_iters=18, val_interval=3)
    runner._hooks = [h for h in runner._hooks if type(h).__name__ != "WholeCheckpointHook"]
    checkpoint = dict(type="WholeCheckpointHook", interval=5, by_epoch=False, save_best="score")
    runner.register_hook(dict(checkpoint, rule="greater"))
    runner._val_evaluator[0].model_score = lambda: 1.0 / runner.iter
    runner.train()
    assert runner.iter == 9 and runner.epoch == 4  # two batches an epoch
    assert newest_whole(tmp_path).name == "iter_9.pth"
    assert read_checkpoint(tmp_path / "iter_9.pth")["meta"]["iter"] == 9


def test_the_flag_keeps_the_best_checkpoint_too():
    cfg = config()
    stop_early(cfg, 3)
    stop_early(cfg, 2)  # the last one counts
    assert cfg.default_hooks.checkpoint.save_best == "seg/mIoU"
    assert cfg.custom_hooks == [
        dict(type="EarlyStopHook", monitor="seg/mIoU", rule="greater", patience=2)
    ]
    with pytest.raises(UserError, match="--early-stop must be at least 1, got 0"):
        stop_early(config(), 0)


def test_an_unknown_figure_is_one_sentence():
    with pytest.raises(UserError, match="no figure x to follow .* has score"):
        EarlyStopHook("x", 1).after_val_epoch(fake_runner(), dict(score=1.0))


def config() -> Config:
    return Config(
        dict(
            default_scope="mmseg",
            val_evaluator=dict(type=MeanIoUMetric.__name__),
            val_dataloader=dict(dataset={}),
            val_cfg=dict(type="ValLoop"),
            model=dict(backbone=dict(type="ConvNeXt")),
            default_hooks=dict(checkpoint=dict(type="WholeCheckpointHook")),
        )
    )


def log(runner) -> str:
    (path,) = (h.baseFilename for h in runner.logger.handlers if hasattr(h, "baseFilename"))
    with open(path, encoding="utf-8") as file:
        return file.read()
