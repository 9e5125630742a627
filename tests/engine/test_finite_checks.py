"""Losses and gradients that are not finite: the step leaves no trace, and can be repeated."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import MODELS, OPTIM_WRAPPERS
from mmengine.structures import InstanceData
from torch import nn

from convnext_dense.engine import DenseRunner
from convnext_dense.engine.plain_batches import from_plain, paths_of, to_plain
from convnext_dense.engine.weight_averaging import averaged_model
from convnext_dense.errors import RunEndedError, UserError
from convnext_dense.preflight.replay import replay
from convnext_dense.weights import read_checkpoint


class Pictures(torch.utils.data.Dataset):
    """Twelve samples with paths; those in ``bad`` carry a value that breaks the numbers."""

    def __init__(self, bad: dict[int, float]) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict:
        value = torch.full((4,), self.bad.get(index, index / 12.0))
        return dict(inputs=value, paths=f"{index}.jpg")


@MODELS.register_module(force=True)
class Net(BaseModel):
    """Two layers with statistics between them; ``steep`` has a finite loss without a gradient."""

    def __init__(self, steep: bool = False) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)
        self.drop = nn.Dropout(0.5)
        self.steep = steep

    def forward(self, inputs, paths=None, mode="tensor"):
        y = self.last(self.drop(self.norm(self.first(inputs))))
        other = (inputs.mean() * self.last.weight).sum()
        if self.steep:  # the derivative of a root at 0 is infinite
            other = (inputs[:, 0].prod() * self.last.weight).abs().sqrt().sum()
        return {"loss_fit": (y - 1).square().mean(), "loss_other": other}


class Probe(Hook):
    """Copies everything a step may change, before it and after it."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.before, self.after, self.logged = {}, {}, {}

    @staticmethod
    def _state(runner) -> list[torch.Tensor]:
        optimizer = runner.optim_wrapper.optimizer.state_dict()["state"]
        moments = [t for one in optimizer.values() for t in one.values()]
        average = averaged_model(runner)
        kept = [*runner.model.state_dict().values(), *moments, *average.state_dict().values()]
        return [torch.as_tensor(t).clone() for t in kept]

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.before[runner.iter] = self._state(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.after[runner.iter] = self._state(runner)
        self.logged[runner.iter] = dict(outputs)


def train(
    folder: Path, bad: dict[int, float], limit=10, steep=False, hooks=(), guarded=True, **kwargs
):
    torch.manual_seed(0)
    wrapper = dict(optimizer=dict(type="AdamW", lr=0.01), **kwargs.pop("wrapper", {}))
    data = dict(dataset=Pictures(bad), batch_size=2, sampler=dict(type="DefaultSampler"))
    data["sampler"]["shuffle"] = False
    data["collate_fn"] = dict(type="default_collate")
    runner = DenseRunner(
        model=Net(steep),
        work_dir=str(folder),
        train_dataloader=data,
        train_cfg=dict(type="ResumableEpochLoop", max_epochs=kwargs.pop("epochs", 2)),
        optim_wrapper=wrapper,
        custom_hooks=[
            *hooks,
            dict(type="MeanLossHook"),
            dict(type="WeightAverageHook", decay=0.9),
            *([dict(type="FiniteChecksHook", limit=limit)] if guarded else []),
            dict(type="RandomStateHook"),
        ],
        randomness=dict(seed=0),
        experiment_name=f"numbers_{folder.name}_{id(folder)}",
        **kwargs,
    )
    runner.train()
    return runner


def log_of(folder: Path) -> str:
    return next(folder.glob("*/*.log")).read_text()


def equal(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return len(some) == len(others) and all(map(torch.equal, some, others))


@pytest.mark.parametrize("clip", [{}, {"clip_grad": dict(max_norm=0.5)}], ids=["plain", "clipped"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_without_a_finite_loss_leaves_no_trace(tmp_path, value, clip):
    probe = Probe()
    runner = train(tmp_path, {5: value}, hooks=[probe], wrapper=dict(clip))
    assert runner.iter == 12
    for step in range(1, 12):  # the third batch of each pass is bad
        assert equal(probe.before[step], probe.after[step]) == (step % 6 == 2)
    assert probe.logged[2] == {} and set(probe.logged[3]) == {"loss", "loss_fit", "loss_other"}
    said = log_of(tmp_path)
    assert "Iteration 3: the loss is not finite (loss " in said
    assert "images 4.jpg, 5.jpg), so the step is not taken. 1 in a row of 10." in said
    assert "Iteration 9:" in said and "2 in a row" not in said
    norms = runner.message_hub.log_scalars["train/grad_norm"].data[0]
    assert len(norms) == 10 and np.isfinite(norms).all()


def test_a_step_of_several_batches_is_dropped_as_one(tmp_path):
    probe = Probe()
    train(tmp_path, {0: math.nan}, hooks=[probe], wrapper=dict(accumulative_counts=3))
    assert equal(probe.before[0], probe.after[2])
    assert not equal(probe.before[3], probe.after[5])
    assert "Iteration 3: the loss is not finite (loss nan" in log_of(tmp_path)
    assert "images 0.jpg, 1.jpg)" in log_of(tmp_path)


def test_a_gradient_without_an_end_counts_too(tmp_path):
    probe = Probe()
    train(tmp_path, {4: 0.0}, steep=True, hooks=[probe], epochs=1)
    assert equal(probe.before[2], probe.after[2])
    assert "Iteration 3: the losses are finite, their gradient is not" in log_of(tmp_path)


def test_good_steps_are_mmengines(tmp_path):
    """Clipping and stepping by hand, as mmengine does without the hook."""
    runner = train(tmp_path, {}, wrapper=dict(clip_grad=dict(max_norm=0.5)))
    plain = train(tmp_path / "plain", {}, guarded=False, wrapper=dict(clip_grad=dict(max_norm=0.5)))
    theirs = plain.model.state_dict()
    assert all(torch.equal(value, theirs[k]) for k, value in runner.model.state_dict().items())
    norms = [r.message_hub.log_scalars["train/grad_norm"].data[0] for r in (runner, plain)]
    np.testing.assert_array_equal(*norms)


def test_a_run_without_good_steps_ends_with_a_dump(tmp_path):
    with pytest.raises(RunEndedError) as end:
        train(tmp_path, {index: math.nan for index in range(4, 12)}, limit=3)
    assert end.value.code == 3
    path = tmp_path / "nonfinite_iter_5_rank_0.pth"
    assert f"--replay {path}" in str(end.value) and "at iteration 5" in str(end.value)
    assert not list(tmp_path.glob(".*.pth.*"))
    dump = read_checkpoint(path)
    assert dump["pictures"] == [["8.jpg", "9.jpg"]] and "config" in dump
    with pytest.raises(RunEndedError) as again:
        replay(config_of("Net"), str(path))
    said = str(again.value)
    assert again.value.code == 3
    assert "Iteration 5, on cpu:" in said and "loss_fit nan" in said and "8.jpg, 9.jpg" in said
    assert (
        "first output that is not finite: first (Linear), whose input is not finite either" in said
    )
    assert "parameters whose gradient is not finite: 6" in said
    with pytest.raises(UserError, match="another model"):
        replay(config_of("ToyOther"), str(path))
    checkpoint = tmp_path / "other.pth"
    torch.save({"state_dict": {}}, checkpoint)
    with pytest.raises(UserError, match="no dump of a step: it has no batches, pictures"):
        replay(config_of("Net"), str(checkpoint))


def config_of(model: str) -> Config:
    model = dict(type=model)
    return Config(dict(model=model, optim_wrapper=dict(type="OptimWrapper")))


@MODELS.register_module(force=True)
class ToyOther(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(2, 2)

    def forward(self, inputs, mode="tensor"):
        return inputs


def test_a_replayed_step_draws_what_the_run_drew(tmp_path):
    """Dropout included: a step that was fine is repeated to the last bit."""
    kept = {}

    class Keep(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            if runner.iter == 7:
                hook = next(h for h in runner.hooks if type(h).__name__ == "FiniteChecksHook")
                hook._write(runner, tmp_path / "step.pth", kept.pop("state"))
                kept.update({name: float(value) for name, value in outputs.items()})

        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            if runner.iter == 7:
                kept["state"] = {k: v.clone() for k, v in runner.model.state_dict().items()}

    train(tmp_path, {}, hooks=[Keep()])
    lines = replay(config_of("Net"), str(tmp_path / "step.pth"))
    assert [line for line in lines if "loss" in line] == [
        f"  {name} {value:g}" for name, value in kept.items()
    ]
    assert lines[-1] == "All numbers are finite this time."


@OPTIM_WRAPPERS.register_module(force=True)
class ScaledOnTheCpu(AmpOptimWrapper):
    """mmengine's wrapper, whose own beginning asks for a GPU, with torch's scaler for the CPU."""

    def __init__(self, init_scale: float, **kwargs) -> None:
        OptimWrapper.__init__(self, **kwargs)
        self.loss_scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, growth_interval=3)
        self._scale_update_param, self.cast_dtype = None, torch.bfloat16


@pytest.mark.parametrize("clip", [None, dict(max_norm=0.5)], ids=["plain", "clipped"])
def test_what_the_scaler_skips_is_no_failure(tmp_path, clip):
    scaled = dict(type="ScaledOnTheCpu", init_scale=2.0**127, clip_grad=clip)
    steep = dict.fromkeys(range(12), 50.0)  # gradients that the scale carries beyond float32
    runner = train(tmp_path, steep, limit=1, wrapper=scaled)
    assert runner.iter == 12
    assert runner.optim_wrapper.loss_scaler.get_scale() < 2.0**127
    assert "not finite" not in log_of(tmp_path)


def test_a_loss_that_is_not_finite_does_not_touch_the_scaler(tmp_path):
    probe = Probe()
    scaled = dict(type="ScaledOnTheCpu", init_scale=8.0)
    runner = train(tmp_path, {5: math.nan}, hooks=[probe], wrapper=scaled, epochs=1)
    assert equal(probe.before[2], probe.after[2])
    assert runner.optim_wrapper.loss_scaler.state_dict()["scale"] == 16.0  # after 3 of 5 good steps


def test_the_scalers_state_is_saved_and_restored(tmp_path):
    scaled = dict(type="ScaledOnTheCpu", init_scale=8.0)
    whole = train(tmp_path / "whole", {}, wrapper=dict(scaled))
    train(tmp_path / "cut", {}, wrapper=dict(scaled), epochs=1)
    path = tmp_path / "cut/epoch_1.pth"
    saved = read_checkpoint(path)["optimizer"]["loss_scaler"]
    assert (saved["scale"], saved["_growth_tracker"]) == (32.0, 0)
    again = train(tmp_path / "again", {}, wrapper=dict(scaled), load_from=str(path), resume=True)
    assert (
        again.optim_wrapper.loss_scaler.state_dict() == whole.optim_wrapper.loss_scaler.state_dict()
    )
    ours, theirs = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_an_exploding_norm_is_said(tmp_path):
    train(tmp_path, {6: 300.0}, epochs=6)
    lines = [line for line in log_of(tmp_path).splitlines() if "times the median" in line]
    assert len(lines) == 1 and "Iteration 22: the gradient norm is" in lines[0]


def test_a_batch_becomes_plain_data_and_back():
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks, PolygonMasks

    sample = DetDataSample(metainfo=dict(img_path="a.jpg", img_shape=(4, 6), scale=np.float32(2)))
    sample.gt_instances = InstanceData(
        bboxes=HorizontalBoxes(torch.tensor([[0.0, 1, 2, 3]])),
        labels=torch.tensor([1]),
        masks=BitmapMasks(np.eye(4, 6, dtype=np.uint8)[None], 4, 6),
    )
    sample.ignored_instances = InstanceData(
        masks=PolygonMasks([[np.array([0.0, 0, 1, 0, 1, 1])]], 4, 6)
    )
    batch = dict(inputs=[torch.zeros(3, 4, 6, dtype=torch.uint8)], data_samples=[sample])
    back = from_plain(to_plain(batch))
    assert paths_of(back) == ["a.jpg"] and torch.equal(back["inputs"][0], batch["inputs"][0])
    found = back["data_samples"][0]
    assert found.metainfo == dict(img_path="a.jpg", img_shape=(4, 6), scale=2.0)
    instances = found.gt_instances
    assert torch.equal(instances.bboxes.tensor, sample.gt_instances.bboxes.tensor)
    np.testing.assert_array_equal(instances.masks.masks, sample.gt_instances.masks.masks)
    polygon = found.ignored_instances.masks.masks[0][0]
    np.testing.assert_array_equal(polygon, [0, 0, 1, 0, 1, 1])
    with pytest.raises(UserError, match="'os.system', which is not known"):
        from_plain(dict(kind="os.system", values="true"))
    with pytest.raises(UserError, match="with a object cannot"):
        to_plain([object()])
