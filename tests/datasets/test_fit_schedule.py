"""The schedule of a run on own data, against arithmetic done by hand."""

import pytest

from convnext_dense.config.load import load_config
from convnext_dense.config.reading import read_config
from convnext_dense.data import fit_schedule as fitting
from convnext_dense.data.schedule_table import format_schedule_table
from convnext_dense.errors import UserError
from convnext_dense.optim.schedule_curve import coco_train_images, lr_curve
from tests.datasets.test_labels import ADE
from tests.miniature import CONFIGS, SHAPES, leaves

ONE_X = CONFIGS / "mask_rcnn_convnext_t_1x.py"
THREE_X = CONFIGS / "cascade_convnext_t_3x.py"


def fit(monkeypatch, path, pictures, options=None, epochs=None, processes=1):
    monkeypatch.setattr(fitting, "count_training_images", lambda cfg: pictures)
    options = options or {}
    cfg = load_config(path, cfg_options=options)
    return cfg, fitting.fit_schedule(cfg, read_config(path), options, epochs, processes)


def test_a_set_as_large_as_coco_keeps_the_recipe(monkeypatch):
    cfg, found = fit(monkeypatch, ONE_X, 117266, processes=8)
    assert cfg.train_cfg.max_epochs == 12 and found.run == found.recipe
    warmup, steps = cfg.param_scheduler
    assert (warmup.end, warmup.by_epoch, warmup.start_factor) == (500, False, 0.001)
    per_epoch = -(-117266 // 16)
    assert list(steps.milestones) == [8 * per_epoch, 11 * per_epoch]
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 1


def test_a_hundred_pictures_get_the_least_length(monkeypatch):
    cfg, found = fit(monkeypatch, ONE_X, 100)  # 2 images a step, recipe 16
    assert cfg.train_cfg.max_epochs == 2000 * 16 // 100 == 320
    assert found.run.iterations == 320 * 50
    warmup, steps = cfg.param_scheduler
    assert warmup.end == 500
    assert list(steps.milestones) == [round(16000 * 8 / 12), round(16000 * 11 / 12)]
    assert steps.end == 16000
    # 12 evaluations in the recipe: every 26.67 epochs
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 27


def test_the_warmup_is_at_most_a_tenth(monkeypatch):
    cfg, found = fit(monkeypatch, ONE_X, 100, processes=8)
    assert found.run.iterations == 320 * 7 and cfg.param_scheduler[0].end == 224


def test_three_times_the_epochs_reach_the_floor_later(monkeypatch):
    assert fit(monkeypatch, THREE_X, 1000)[0].train_cfg.max_epochs == 36
    assert fit(monkeypatch, THREE_X, 800)[0].train_cfg.max_epochs == 40  # 32,000 / 800
    assert fit(monkeypatch, ONE_X, 1000)[0].train_cfg.max_epochs == 32


def test_iterations_follow_pictures_and_batch(monkeypatch):
    # half of ADE20K at the recipe's batch: half the iterations, everything in proportion
    cfg, _ = fit(monkeypatch, ADE, 10105, processes=8)
    assert cfg.train_cfg.max_iters == 80000
    warmup, poly = cfg.param_scheduler
    assert (warmup.end, poly.begin, poly.end) == (1500, 0, 80000)
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 8000
    # on one process an eighth of the images a step, eight times the steps
    cfg, _ = fit(monkeypatch, ADE, 10105)
    assert cfg.train_cfg.max_iters == 640000
    # never longer than the recipe
    assert fit(monkeypatch, ADE, 90000, processes=8)[0].train_cfg.max_iters == 160000
    # and 120 images get the floor
    cfg, _ = fit(monkeypatch, ADE, 120, processes=8)
    assert cfg.train_cfg.max_iters == 2000 and cfg.param_scheduler[0].end == 200


def test_accumulation_counts_in_the_rate_but_not_in_the_iterations(monkeypatch):
    options = {"optim_wrapper.accumulative_counts": 4}
    cfg, found = fit(monkeypatch, ONE_X, 100, options)
    assert found.size.batch.step == 8 and found.run.iterations == 320 * 50
    cfg.auto_scale_lr.enable = True
    told = format_told(cfg, found)
    assert "5e-05" in told and "2 x 1 process x 4 accumulated batches" in told


def format_told(cfg, found, path=ONE_X, max_iters=None) -> str:
    cfg.train_dataloader.dataset.metainfo = dict(classes=["a"])
    cfg.train_dataloader.dataset.pop("ann_file", None)
    return format_schedule_table(cfg, read_config(path), found, max_iters)


@pytest.mark.parametrize("path", [ONE_X, ADE, SHAPES], ids=lambda path: path.stem)
def test_rates_over_training_keep_the_recipes_shape(monkeypatch, path):
    """After the warmup the rate at each share of the run is the recipe's at that share."""
    cfg, found = fit(monkeypatch, path, 300)
    recipe = read_config(path)
    before = lr_curve([1.0], recipe.param_scheduler, recipe.train_cfg, per_epoch=400)
    run = found.run.iterations
    after = lr_curve([1.0], cfg.param_scheduler, dict(max_iters=run))
    for share in (0.3, 0.5, 0.66, 0.7, 0.9, 0.93, 0.99):
        rates = []
        for curve in (before, after):
            place = min(len(curve.iterations) - 1, round(share * len(curve.iterations)))
            rates.append(curve.rates[0][place])
        assert rates[1] == pytest.approx(rates[0], rel=0.02, abs=2e-3), share
    assert 0.9 * max(before.rates[0]) < max(after.rates[0]) <= 1


def test_what_is_given_wins(monkeypatch):
    assert fit(monkeypatch, ONE_X, 100, epochs=7)[0].train_cfg.max_epochs == 7
    cfg, found = fit(monkeypatch, ADE, 121, epochs=7)  # the last image of a pass is left out
    assert cfg.train_cfg.max_iters == 7 * 60 and found.reason == "--epochs"
    options = {
        "train_cfg.max_epochs": 30,
        "param_scheduler.0.end": 5,
        "default_hooks.checkpoint.interval": 2,
        "train_cfg.val_interval": 3,
    }
    cfg, _ = fit(monkeypatch, ONE_X, 100, options)
    assert cfg.train_cfg.max_epochs == 30 and cfg.param_scheduler[0].end == 5
    assert list(cfg.param_scheduler[1].milestones) == [1000, 1375]  # of 1,500
    assert (cfg.default_hooks.checkpoint.interval, cfg.train_cfg.val_interval) == (2, 3)


def test_one_iteration_is_enough_to_schedule(monkeypatch):
    cfg, found = fit(monkeypatch, ONE_X, 2, epochs=1)
    assert found.run.iterations == 1
    assert lr_curve([1.0], cfg.param_scheduler, dict(max_iters=1)).total == 1


def test_a_set_smaller_than_a_batch_is_refused(monkeypatch):
    with pytest.raises(UserError, match="The 1 training images make no batch of 2: lower"):
        fit(monkeypatch, ADE, 1)
    with pytest.raises(UserError, match="--epochs must be at least 1"):
        fit(monkeypatch, ADE, 100, epochs=0)


@pytest.mark.slow
def test_a_fitted_config_is_not_fitted_again(monkeypatch, tmp_path):
    cfg, _ = fit(monkeypatch, ONE_X, 100)
    cfg.dump(tmp_path / "resolved.py")
    with pytest.raises(UserError, match="resolved.py is the config of a run on own data"):
        fit(monkeypatch, tmp_path / "resolved.py", 100)


def test_an_unknown_schedule_is_refused(monkeypatch, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        f'_base_ = "{ONE_X}"\nparam_scheduler = [dict(type="ExponentialLR", gamma=0.9)]'
    )
    with pytest.raises(UserError, match="The schedule ExponentialLR cannot be fitted to own data"):
        fit(monkeypatch, path, 100)


def test_the_table_tells_all_numbers(monkeypatch):
    cfg, found = fit(monkeypatch, ONE_X, 100)
    cfg.auto_scale_lr.enable = True
    text = format_told(cfg, found, max_iters=20)
    assert text.startswith("mask_rcnn_convnext_t_1x.py on your data, 1 class: a")
    for row in (
        "training images 117,266 100",
        "images a step 16 2 2 x 1 process",
        "learning rate 0.0001 1.25e-05 x 2 / 16 images",
        "epochs 12 320 at least 2,000 steps of 16 images",
        "iterations 87,960 16,000 320 passes of 50",
        "warmup iterations 500 500",
        "lr x 0.1 after 8, 11 epochs 10,667, 14,667 iterations",
        "evaluated every n epochs 1 27",
        "stops after 20 --max-iters",
    ):
        assert row in " ".join(text.split()), row


def test_cocos_size_is_one_fact():
    for path in leaves("detection", "panoptic"):
        cfg = read_config(path)
        if "coco" in cfg.train_dataloader.dataset.data_root:
            assert cfg.recipe_pictures == coco_train_images(cfg.train_dataloader.dataset), path
