"""The training loop against mmengine's own, and a resumed run against an uninterrupted one."""

import uuid
from types import SimpleNamespace

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import BaseModel
from mmengine.runner import LogProcessor, Runner
from torch.utils.data import Dataset

from convnext_dense.engine import DenseRunner
from convnext_dense.engine.hooks import PassLogProcessor
from convnext_dense.errors import UserError


class Numbers(Dataset):
    """Twelve numbers; remembers which were read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> torch.Tensor:
        self.read.append(index)
        return torch.tensor([float(index)])


class Line(BaseModel):
    """One weight; remembers the batches it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.batches: list[list[int]] = []

    def forward(self, inputs: list[torch.Tensor], mode: str) -> dict:
        batch = torch.stack(list(inputs))
        self.batches.append(batch.flatten().int().tolist())
        return {"loss": (self.layer(batch / 12) - 1).square().mean()}

    def train_step(self, data, optim_wrapper):
        with optim_wrapper.optim_context(self):
            loss = self(data, "loss")["loss"]
        optim_wrapper.update_params(loss)
        return {"loss": loss}

    def val_step(self, data) -> list:
        return list(data)


def run(
    work_dir,
    loop: dict,
    runner_type=DenseRunner,
    seed=3,
    by_epoch=False,
    checkpoint_interval=5,
    **kwargs,
):
    torch.manual_seed(0)
    kwargs.setdefault(
        "train_dataloader",
        dict(
            dataset=Numbers(),
            batch_size=2,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=True),
            collate_fn=dict(type="default_collate"),
        ),
    )
    kwargs.setdefault("optim_wrapper", dict(optimizer=dict(type="Adam", lr=0.1)))
    kwargs.setdefault(
        "param_scheduler",
        [
            dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=5),
            # explicit, since an iteration loop that is cut short has fewer epochs
            dict(type="MultiStepLR", by_epoch=True, end=9, milestones=[2], gamma=0.1),
        ],
    )
    checkpoint = dict(
        type="CheckpointHook", interval=1 if by_epoch else checkpoint_interval, by_epoch=by_epoch
    )
    kwargs.setdefault("default_hooks", dict(checkpoint=checkpoint))
    runner = runner_type(
        model=Line(),
        work_dir=str(work_dir),
        train_cfg=loop,
        randomness=dict(seed=seed),
        experiment_name=f"{work_dir.name}-{uuid.uuid4()}",
        **kwargs,
    )
    runner.train()
    return runner


def state(runner) -> tuple:
    return (
        runner.model.layer.weight.item(),
        runner.optim_wrapper.get_lr()["lr"],
        runner.iter,
        runner.epoch,
    )


def test_equals_mmengines_loop(tmp_path):
    ours = run(tmp_path / "a", dict(type="ResumableEpochLoop", max_epochs=3))
    theirs = run(tmp_path / "b", dict(type="EpochBasedTrainLoop", max_epochs=3), Runner)
    assert ours.model.batches == theirs.model.batches
    assert state(ours) == state(theirs)


@pytest.mark.parametrize("stop", [5, 10, 15])
def test_resuming_inside_an_epoch_continues_exactly(tmp_path, stop):
    whole = run(tmp_path / "whole", dict(type="ResumableEpochLoop", max_epochs=3))
    run(tmp_path / "cut", dict(type="ResumableEpochLoop", max_epochs=3, max_iters=stop))
    resumed = run(
        tmp_path / "cut",
        dict(type="ResumableEpochLoop", max_epochs=3),
        load_from=str(tmp_path / f"cut/iter_{stop}.pth"),
        resume=True,
    )
    assert resumed.model.batches == whole.model.batches[stop:]
    assert state(resumed) == state(whole)
    # the skipped images were not read
    assert len(resumed.train_dataloader.dataset.read) == 36 - 2 * stop


@pytest.mark.parametrize("stop", [5, 10, 15])
def test_iterations_resume_exactly(tmp_path, stop):
    loop = dict(type="ResumableIterLoop", max_iters=20, val_interval=100)
    whole = run(tmp_path / "whole", dict(loop))
    assert len(whole.model.batches) == whole.iter == 20
    passes = [sorted(sum(whole.model.batches[i : i + 6], [])) for i in (0, 6, 12)]
    assert passes == [list(range(12))] * 3  # every image once a pass ...
    assert whole.model.batches[:6] != whole.model.batches[6:12]  # ... in a new order
    run(tmp_path / "cut", dict(loop, max_iters=stop))
    path = str(tmp_path / f"cut/iter_{stop}.pth")
    resumed = run(tmp_path / "cut", dict(loop), load_from=path, resume=True)
    assert resumed.model.batches == whole.model.batches[stop:]
    assert state(resumed) == state(whole)
    assert len(resumed.train_dataloader.dataset.read) == 2 * (20 - stop)


@pytest.mark.parametrize("stop", [3, 6])
def test_another_epoch_length_is_no_place_to_go_on(tmp_path, stop):
    """With 12 numbers in batches of 6 the third epoch would begin at iteration 4."""
    loop = dict(type="ResumableEpochLoop", max_epochs=3)
    run(tmp_path, dict(loop, max_iters=stop))
    data = dict(dataset=Numbers(), batch_size=6, sampler=dict(type="DefaultSampler", shuffle=True))
    with pytest.raises(UserError, match=rf"at iteration {stop}, in epoch .* 2 batches an epoch"):
        run(
            tmp_path,
            dict(loop),
            train_dataloader=data,
            load_from=str(tmp_path / f"iter_{stop}.pth"),
            resume=True,
        )


class Named(Numbers):
    """Numbers of two classes."""

    def __init__(self, *classes: str) -> None:
        super().__init__()
        self.metainfo = dict(classes=classes)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("a", "c"), "its class 1 is 'b', the data's 'c'"),
        (("a",), "it has 2 classes, the data 1"),
        (("a", "b"), None),
    ],
)
def test_a_run_on_other_classes_is_not_resumed(tmp_path, classes, said):
    def data(*names):
        return dict(
            dataset=Named(*names), batch_size=2, sampler=dict(type="DefaultSampler", shuffle=True)
        )

    loop = dict(type="ResumableEpochLoop", max_epochs=2)
    run(tmp_path, dict(loop, max_iters=6), train_dataloader=data("a", "b"))
    again = dict(train_dataloader=data(*classes), load_from=str(tmp_path / "iter_6.pth"))
    if said is None:
        assert run(tmp_path, dict(loop), resume=True, **again).iter == 12
        return
    with pytest.raises(UserError, match=said):
        run(tmp_path, dict(loop), resume=True, **again)


class Count(BaseMetric):
    """Remembers after how many iterations it was asked."""

    asked: list[int] = []

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        self.asked.append(MessageHub.get_current_instance().get_info("iter"))
        return {"count": 1.0}


def test_evaluations_count_iterations(tmp_path):
    Count.asked.clear()
    run(
        tmp_path,
        dict(type="ResumableIterLoop", max_iters=10, val_interval=4),
        val_dataloader=dict(
            dataset=Numbers(), batch_size=12, sampler=dict(type="DefaultSampler", shuffle=False)
        ),
        val_cfg=dict(type="ValLoop"),
        val_evaluator=[Count()],
    )
    assert Count.asked == [3, 7, 9]  # the hub counts from 0: after 4, 8 and, at the end, 10


def test_too_few_pictures_for_a_batch(tmp_path):
    with pytest.raises(UserError, match="The 12 training images make no batch of 13"):
        run(
            tmp_path,
            dict(type="ResumableIterLoop", max_iters=10),
            train_dataloader=dict(
                dataset=Numbers(),
                batch_size=13,
                drop_last=True,
                sampler=dict(type="DefaultSampler", shuffle=True),
            ),
        )


def test_max_iters_stops_there(tmp_path):
    runner = run(tmp_path, dict(type="ResumableEpochLoop", max_epochs=3, max_iters=8))
    assert runner.iter == 8 and len(runner.model.batches) == 8
    assert (tmp_path / "iter_8.pth").exists()


@pytest.mark.parametrize(("iterations", "epoch"), [(4, 1), (6, 1), (8, 2), (12, 2)])
def test_an_evaluation_inside_of_an_epoch_names_it(tmp_path, iterations, epoch):
    run(
        tmp_path,
        dict(type="ResumableEpochLoop", max_epochs=3, max_iters=iterations, val_interval=3),
        val_dataloader=dict(
            dataset=Numbers(), batch_size=12, sampler=dict(type="DefaultSampler", shuffle=False)
        ),
        val_cfg=dict(type="ValLoop"),
        val_evaluator=[Count()],
        log_processor=dict(type="PassLogProcessor"),
    )
    lines = [line for line in next(tmp_path.glob("*/*.log")).read_text().splitlines()]
    (line,) = [line for line in lines if "Epoch(val)" in line]
    assert f"[{epoch}][1/1]" in line.replace(" ", "")


def test_one_step_does_not_hide_the_other_norms(monkeypatch):
    """The console has their median; what is logged stays mmengine's mean."""
    logged = {"loss": 1.0, "grad_norm": 2.5e7}, "the line of the log"
    monkeypatch.setattr(LogProcessor, "get_log_after_iter", lambda *_: logged)
    norms = HistoryBuffer([9.0, 9.0, 1e8, 3.0, 2.0, 5.0], [1] * 6)
    hub = SimpleNamespace(log_scalars={"train/grad_norm": norms}, runtime_info={})
    runner = SimpleNamespace(message_hub=hub, iter=5, max_iters=10)
    processor = PassLogProcessor(window_size=4, by_epoch=False)
    tag, text = processor.get_log_after_iter(runner, 5, "train")
    assert (tag, text) == logged and "grad_norm: 4  " in f"{text.short}  "
    hub.log_scalars.clear()
    assert "grad_norm" not in processor._usual_norm(runner)


def test_checkpoints_are_renamed_into_place(tmp_path):
    run(tmp_path, dict(type="ResumableEpochLoop", max_epochs=1))
    assert not list(tmp_path.glob(".*"))
    assert {path.name for path in tmp_path.glob("*.pth")} == {"iter_5.pth", "iter_6.pth"}


@pytest.mark.parametrize(("enable", "accumulate"), [(False, 1), (True, 1), (True, 4)])
def test_auto_scale_lr_counts_accumulation(tmp_path, enable, accumulate):
    runner = DenseRunner(
        model=Line(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=Numbers(), batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler")
        ),
        train_cfg=dict(type="ResumableEpochLoop", max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1), accumulative_counts=accumulate),
        auto_scale_lr=dict(enable=enable, base_batch_size=16),
        experiment_name=f"scale-{enable}-{accumulate}",
    )
    runner.train()
    expected = 0.1 * (2 * accumulate / 16 if enable else 1)
    assert runner.optim_wrapper.get_lr()["lr"] == [pytest.approx(expected)]
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert ("--auto-scale-lr multiplies it by 0.125" in log) is not enable
