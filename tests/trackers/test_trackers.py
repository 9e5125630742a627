"""Trackers: what they are told, one run for a work folder, failures, missing packages, --log."""

import json
import logging
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import VISBACKENDS

from convnext_dense.config.renamed import rename_types
from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.errors import UserError
from convnext_dense.trackers import TrackerHook
from convnext_dense.trackers.choose import settle_trackers
from convnext_dense.trackers.packages import PACKAGES, TRACKERS
from tests.trackers.fakes import wandb

ROW = {"loss": torch.tensor(0.5), "lr": 1e-3, "iter": 7, "epoch": 1, "x": np.nan, "s": "text"}


def config(folder) -> Config:
    optimizer = dict(type="AdamW", lr=0.01)
    return Config(dict(work_dir=str(folder), optim_wrapper=dict(optimizer=optimizer)))


def tracker_of(package, **settings):
    kind = dict(type=TRACKERS[package.__name__], save_dir="somewhere", **settings)
    return VISBACKENDS.build(kind)


def rows(package) -> dict[int, dict]:
    """All numbers by step."""
    found: dict[int, dict] = {}
    for what, told in package.told:
        if what in ("log", "log_batch") and told["step"] is not None:
            found.setdefault(told["step"], {}).update(told["data"])
    return found


def image_steps(package) -> dict[str, int]:
    logged = {told["key"]: told["step"] for told in package.of("log_image")}
    for step, row in rows(package).items():
        logged |= {name: step for name, value in row.items() if isinstance(value, tuple)}
    return logged


def test_rows_images_and_files(fake, tmp_path):
    tracker = tracker_of(fake)
    tracker.add_config(config(tmp_path))
    tracker.add_scalars(ROW, step=8)
    tracker.iteration = 10
    tracker.add_scalars({"coco/bbox_mAP": np.float64(0.25), "time": 1.0}, step=1)
    tracker.add_image("val/0", np.zeros((4, 5, 3), np.uint8)[..., ::-1], step=10)
    tracker.add_figures("test", {"coco/bbox_mAP": 0.5}, 11)
    (tmp_path / "metrics.json").write_text("{}")
    tracker.add_file(tmp_path / "metrics.json")
    tracker.add_file(tmp_path / "absent.json")
    tracker.close()
    logged = rows(fake)
    assert logged[8] == {"train/loss": 0.5, "train/lr": 1e-3, "train/epoch": 1.0}
    assert logged[10]["val/bbox_mAP"] == 0.25 and logged[10]["val/time"] == 1.0
    assert logged[11] == {"test/bbox_mAP": 0.5}
    assert image_steps(fake) == {"val/0": 10}
    assert [told["glob_str"] for told in fake.of("save")] == [str(tmp_path / "metrics.json")]
    assert len(fake.of("finish")) == 1 and len(fake.of("config")) >= 1
    if fake.__name__ == "clearml":
        assert fake.of("init")[0]["patches"] is False


def test_a_resumed_run_goes_on_in_the_same_run(fake, tmp_path):
    for _ in range(2):
        tracker = tracker_of(fake)
        tracker.add_config(config(tmp_path))
        changed = config(tmp_path)
        changed.optim_wrapper.optimizer.lr = 0.02  # MLflow takes no other value of a parameter
        tracker.close()
    known = json.loads((tmp_path / "trackers.json").read_text())[fake.__name__]
    opened = fake.of("init") or fake.of("update_run")
    assert (opened[-1].get("id") or opened[-1].get("run_id")) == known
    again = tracker_of(fake)
    again.add_config(changed)
    again.add_scalars({"loss": 1.0, "iter": 3}, step=3)
    assert rows(fake)[3] == {"train/loss": 1.0}
    other = tracker_of(fake)
    (tmp_path / "other").mkdir()
    other.add_config(config(tmp_path / "other"))
    assert not (fake.of("init") or [{}])[-1].get("id")


def test_wandb_takes_no_step_twice(tmp_path, monkeypatch):
    package = wandb()
    monkeypatch.setitem(sys.modules, "wandb", package)
    tracker = tracker_of(package, define_metric_cfg={"val/bbox_mAP": "max"})
    tracker.add_config(config(tmp_path))
    for step in (5, 4, 5, 6):
        tracker.add_scalars({"loss": 1.0, "iter": step}, step=step)
    assert [told["step"] for told in package.of("log")] == [5, 5, 6]
    assert package.of("define_metric") == [{"name": "val/bbox_mAP", "summary": "max"}]


def test_a_tracker_that_fails_ends_nothing(fake, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    messages: list[str] = []
    monkeypatch.setattr(
        "convnext_dense.trackers.tracker.print_log", lambda text, **how: messages.append(text)
    )
    tracker = tracker_of(fake)
    tracker.add_config(config(tmp_path))
    fake.broken = True
    for second in range(50):
        now[0] = float(second)
        tracker.add_scalars({"loss": 1.0, "iter": second}, step=second)
    failures = [text for text in messages if "the server is gone" in text]
    assert len(failures) == 1 and "The run goes on without it" in failures[0]
    now[0] = 61.0  # asked again, and left alone for twice as long
    tracker.add_scalars({"loss": 1.0, "iter": 61}, step=61)
    fake.broken = False
    now[0] = 150.0
    tracker.add_scalars({"loss": 1.0, "iter": 150}, step=150)
    assert 150 not in rows(fake)
    now[0] = 182.0
    tracker.add_scalars({"loss": 1.0, "iter": 182}, step=182)
    assert 182 in rows(fake)
    assert sum("takes the log again" in text for text in messages) == 1
    assert sum("the server is gone" in text for text in messages) == 1
    fake.broken = True
    tracker.close()  # raises nothing


def test_a_run_that_cannot_be_opened_is_a_sentence(fake, tmp_path):
    fake.broken = True
    if fake.__name__ == "mlflow":
        fake.MlflowClient.get_experiment_by_name = lambda self, name: fake.take("x")
    with pytest.raises(UserError, match=f"--log {fake.__name__}: no run can be opened.*is gone"):
        tracker_of(fake).add_config(config(tmp_path))
    assert not (tmp_path / "trackers.json").exists()


@pytest.mark.parametrize("kind", PACKAGES)
def test_a_missing_package_is_a_sentence(kind, monkeypatch):
    monkeypatch.setattr("convnext_dense.trackers.packages.import_module", _not_installed)
    settled = settled_config([dict(type=kind)])
    with pytest.raises(UserError, match=f"needs the package {PACKAGES[kind]}, which is not inst"):
        settle_trackers(settled, None)


def _not_installed(name):
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_broken_package_is_a_sentence(monkeypatch):
    def broken(name):
        raise ImportError("libssl.so is missing")

    monkeypatch.setattr("convnext_dense.trackers.packages.import_module", broken)
    with pytest.raises(UserError, match="wandb cannot be imported .ImportError: libssl.so"):
        settle_trackers(settled_config([]), ["wandb"])


def settled_config(backends) -> SettledConfig:
    return SettledConfig(Config(dict(visualizer=dict(type="Visualizer", vis_backends=backends))))


def types(settled) -> list[str]:
    return [backend.type for backend in settled.cfg.visualizer.vis_backends]


def test_log_and_the_config(fake):
    name, kind = fake.__name__, TRACKERS[fake.__name__]
    settled = settled_config([dict(type="JsonVisBackend")])
    settle_trackers(settled, [name, name])
    assert types(settled) == ["JsonVisBackend", kind]
    assert settled.cfg.custom_hooks == [dict(type="TrackerHook")]
    assert {change.reason for change in settled.changes} == {"--log"}
    # The config's own stays as it is set up there, and is taken out by none or by another.
    own = [dict(type="JsonVisBackend"), dict(type=kind, init_kwargs=dict(project="p"))]
    for names, left in ((None, own), ([name], own), (["none"], own[:1])):
        settled = settled_config(own)
        settle_trackers(settled, names)
        assert settled.cfg.visualizer.to_dict()["vis_backends"] == left
        assert bool(settled.cfg.get("custom_hooks")) == (left is own)
    with pytest.raises(UserError, match="give it alone"):
        settle_trackers(settled_config([]), [name, "none"])


def test_a_config_without_trackers_is_left_alone():
    settled = settled_config([dict(type="JsonVisBackend")])
    settle_trackers(settled, None)
    assert settled.changes == []


def test_mmengines_own_are_replaced():
    for name in ("WandbVisBackend", "MLflowVisBackend", "ClearMLVisBackend"):
        node = rename_types(dict(vis_backends=[dict(type=name)]))
        assert node["vis_backends"][0]["type"] in TRACKERS.values()


class Drawn:
    """A task that draws nothing and notes what it was asked for."""

    def __init__(self, error=None) -> None:
        self.names, self.error = [], error

    def draw_result(self, visualizer, name, sample, step) -> None:
        if self.error:
            raise self.error
        self.names.append((name, step))
        visualizer.add_image(name, np.zeros((2, 2, 3), np.uint8), step)


@pytest.mark.parametrize("error", [None, RuntimeError("odd size")])
def test_the_hook_draws_the_first_images(tmp_path, monkeypatch, error):
    package = wandb()
    monkeypatch.setitem(sys.modules, "wandb", package)
    tracker = tracker_of(package)
    tracker.add_config(config(tmp_path))
    task = Drawn(error)
    monkeypatch.setattr("convnext_dense.trackers.hook.task_of", lambda cfg: task)
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=("a",))))
    runner = SimpleNamespace(
        visualizer=SimpleNamespace(_vis_backends={"w": tracker}, instance_name=str(tmp_path)),
        cfg=Config(dict(visualizer=dict(type="Visualizer"))),
        val_dataloader=loader,
        test_dataloader=loader,
        _train_loop=object(),
        iter=20,
        logger=logging.getLogger("hook"),
        work_dir=tmp_path,
    )
    hook = TrackerHook(images=3)
    hook.before_run(runner)
    for iteration in (20, 40):
        runner.iter = iteration
        hook.before_val_epoch(runner)
        for batch in range(3):
            hook.after_val_iter(runner, batch, None, ["a", "b"])
        tracker.add_scalars({"coco/bbox_mAP": 0.1}, step=1)
    drawn = [(f"val/{i}", step) for step in (20, 40) for i in range(3)]
    assert task.names == ([] if error else drawn)
    assert all("val/bbox_mAP" in rows(package)[step] for step in (20, 40))
    (tmp_path / "metrics.json").write_text("{}")
    hook.before_test_epoch(runner)
    hook.after_test_epoch(runner, {"coco/bbox_mAP": 0.9})
    hook.after_run(runner)
    assert len(package.of("save")) == 1
