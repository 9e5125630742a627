"""A run on own data, resumed with a longer schedule through the command: what it says and does."""

import json

import pytest
from mmengine.config import Config

from convnext_dense.cli.shared.train_settings import stop_after
from tests.datasets.test_labels import SHAPES as LABEL_SHAPES
from tests.datasets.test_own_data import label_flags
from tests.running import run

SMALL = ["--cfg-options", "train_dataloader.batch_size=2", "train_dataloader.num_workers=0",
         "train_dataloader.persistent_workers=False", "val_dataloader.num_workers=0",
         "val_dataloader.persistent_workers=False", "default_hooks.logger.interval=1",
         "model.decode_head.channels=16", "model.auxiliary_head.channels=16"]  # fmt: skip


def rates(work_dir) -> dict[int, float]:
    """The largest rate of each step, from the logs of all starts."""
    lines = [json.loads(line) for path in sorted(work_dir.glob("*/vis_data/*.json"))
             for line in path.read_text().splitlines()]  # fmt: skip
    return {line["step"]: line["max_lr"] for line in lines if "max_lr" in line}


def cells(text: str, row: str) -> list[str]:
    line = next(line for line in reversed(text.splitlines()) if row in line)
    return line.split(row)[1].split()


EPOCHS = dict(type="MultiStepLR", by_epoch=True, begin=0, end=12)
ITERATIONS = dict(type="PolyRatioLR", by_epoch=False, begin=0, end=100)


@pytest.mark.parametrize("length, schedule, given, expected", [
    (dict(max_epochs=12), EPOCHS, 7, 7),
    (dict(max_epochs=12, max_iters=3), EPOCHS, 7, 7),  # the config of a run of --max-iters 3
    (dict(max_iters=100), ITERATIONS, 7, 7),
    (dict(max_iters=3), ITERATIONS, 7, 7),
    (dict(max_iters=3), ITERATIONS, 700, 100),  # the schedule ends there
    (dict(max_iters=3), EPOCHS, 7, 3),  # a schedule that says nothing on iterations
])  # fmt: skip
def test_max_iters_also_of_a_run_that_it_ended_before(length, schedule, given, expected):
    hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=50))
    cfg = Config(dict(train_cfg=length, param_scheduler=[schedule], default_hooks=hooks))
    stop_after(cfg, given, {})
    assert cfg.train_cfg.max_iters == expected


@pytest.mark.slow
def test_a_longer_run_at_another_rate(streets, tmp_path):
    work_dir = tmp_path / "run"
    flags = [*label_flags(streets), "--work-dir", work_dir, "--seed", 1, *SMALL]
    output = run("train", LABEL_SHAPES, "--epochs", 1, *flags)  # ten images: 5 iterations
    found = rates(work_dir)
    assert len(found) == 5 and found[1] == max(found.values()) == 0.004
    assert cells(output, "largest rate")[0] == "0.004"

    flags += ["optim_wrapper.optimizer.lr=0.002", "optim_wrapper.optimizer.weight_decay=0.3"]
    flags = ["--epochs", 4, "--resume", *flags]
    page = run("train", LABEL_SHAPES, "--dry-run", *flags)
    assert rates(work_dir) == found  # nothing was trained
    output = run("train", LABEL_SHAPES, *flags)
    for row in ("length", "place", "learning rate", "weight decay", "rate at this place",
                "largest rate from here", "rate at the end"):  # fmt: skip
        assert cells(page, f"  {row} ") == cells(output, f"  {row} "), row
    assert cells(output, "  length ")[:4] == ["5", "iterations", "20", "iterations"]
    assert cells(output, "  learning rate ")[:2] == ["0.004", "0.002"]
    assert cells(output, "  weight decay ")[:2] == ["0.05", "0.3"]
    later = {step: rate for step, rate in rates(work_dir).items() if step > 5}
    assert len(later) == 15
    for row, rate in (
        ("largest rate from here", max(later.values())),
        ("rate at the end", later[20]),
    ):
        assert abs(float(cells(output, row)[0]) / rate - 1) < 1e-3
    cfg = Config.fromfile(work_dir / LABEL_SHAPES.name)
    assert cfg.optim_wrapper.optimizer.lr == 0.002 and cfg.train_cfg.max_iters == 20
    assert cfg.resumed_schedule.iteration == 5 and cfg.randomness.seed == 1


def test_a_warm_restart_needs_a_run(tmp_path):
    output = run("train", LABEL_SHAPES, "--warm-restart", "--work-dir", tmp_path, code=2)
    assert "--warm-restart belongs to a resumed run: add --resume." in output
