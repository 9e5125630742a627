"""SIGTERM and Ctrl-C: a checkpoint at once, and a resumed run that equals an uninterrupted one."""

import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook

from convnext_dense.cli.shared.run_command import run_command
from convnext_dense.engine import DenseRunner
from convnext_dense.errors import RunEndedError
from convnext_dense.runs import data_workers
from convnext_dense.runs.data_workers import explaining_dead_workers
from convnext_dense.runs.signals import Interrupted, handling_signals, request
from convnext_dense.weights import read_checkpoint
from tests.engine.test_loops import Line, Numbers, run, state

EPOCHS = dict(type="ResumableEpochLoop", max_epochs=3)  # of 6 iterations each
ITERATIONS = dict(type="ResumableIterLoop", max_iters=18, val_interval=4)
HOOKS = [dict(type="RandomStateHook"), dict(type="MeanLossHook"), dict(type="InterruptHook")]


class Tell(Hook):
    """Sends this process a signal at a point of the run."""

    def __init__(self, point: str, iteration: int, number: int = signal.SIGTERM) -> None:
        def send(runner, *args, **kwargs) -> None:
            if runner.iter == iteration:
                os.kill(os.getpid(), number)

        setattr(self, point, send)


class Evaluations(BaseMetric):
    """Remembers where evaluations began, and where they ended."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.ended = 0, 0

    def process(self, data_batch, data_samples) -> None:
        self.begun += 1
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        self.ended += 1
        return {"count": 1.0}


def train(folder: Path, loop: dict, *hooks: Hook, **kwargs):
    data = dict(dataset=Numbers(), batch_size=4, sampler=dict(type="DefaultSampler", shuffle=False))
    metric = Evaluations()
    with handling_signals():
        runner = run(
            folder,
            dict(loop),
            custom_hooks=[*hooks, *HOOKS],
            val_dataloader=data,
            val_cfg=dict(type="ValLoop"),
            val_evaluator=[metric],
            **kwargs,
        )
    return runner, metric


@pytest.mark.parametrize("loop", [EPOCHS, ITERATIONS], ids=["epochs", "iterations"])
@pytest.mark.parametrize(
    ("point", "iteration", "written"),
    [
        ("before_train_iter", 0, 1),
        ("before_train_iter", 7, 8),  # an evaluation of the iterations is due there
        ("before_train_iter", 11, 12),  # the last one of an epoch
        ("before_val_iter", 12, 12),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_told_run_resumes_as_if_nothing_had_been(
    tmp_path, loop, point, iteration, written, number
):
    whole, all_evaluations = train(tmp_path / "whole", loop)
    with pytest.raises(Interrupted, match=f"at iteration {written}: .*iter_{written}.pth") as told:
        train(tmp_path / "cut", loop, Tell(point, iteration, number))
    assert told.value.code == 143
    path = tmp_path / f"cut/iter_{written}.pth"
    assert (tmp_path / "cut/last_checkpoint").read_text() == str(path)
    resumed, evaluations = train(tmp_path / "cut", loop, load_from=str(path), resume=True)
    assert resumed.model.batches == whole.model.batches[written:]
    assert state(resumed) == state(whole)
    due = read_checkpoint(path)["evaluation_due"]
    length = 6 if loop is EPOCHS else 4
    done = (written - 1) // length if written % length == 0 else written // length
    assert due == (written % length == 0)
    assert evaluations.ended == all_evaluations.ended - done


def test_an_evaluation_is_not_waited_for(tmp_path):
    class Once(Evaluations):
        pass

    told = Tell("before_val_iter", 6)
    metric = Once()
    with handling_signals(), pytest.raises(Interrupted):
        run(
            tmp_path,
            dict(EPOCHS),
            custom_hooks=[told, *HOOKS],
            val_dataloader=dict(
                dataset=Numbers(), batch_size=2, sampler=dict(type="DefaultSampler", shuffle=False)
            ),
            val_cfg=dict(type="ValLoop"),
            val_evaluator=[metric],
        )
    assert (metric.begun, metric.ended) == (1, 0)


def test_one_extra_checkpoint_stays(tmp_path):
    for point in (2, 8):
        with pytest.raises(Interrupted):
            resume = dict(load_from=str(tmp_path / "iter_3.pth"), resume=True) if point > 2 else {}
            train(tmp_path, EPOCHS, Tell("before_train_iter", point), **resume)
    assert {path.name for path in tmp_path.glob("*.pth")} == {"iter_5.pth", "iter_9.pth"}


def test_a_step_of_several_batches_is_finished(tmp_path):
    def accumulated(*hooks, **kwargs):
        torch.manual_seed(0)
        data = dict(
            dataset=Numbers(), batch_size=2, sampler=dict(type="DefaultSampler", shuffle=True)
        )
        runner = DenseRunner(
            model=Line(),
            work_dir=str(tmp_path / "run"),
            train_dataloader=data,
            train_cfg=dict(EPOCHS),
            optim_wrapper=dict(optimizer=dict(type="Adam", lr=0.1), accumulative_counts=3),
            custom_hooks=[*hooks, *HOOKS],
            randomness=dict(seed=1),
            experiment_name=f"accumulated{len(kwargs)}{len(hooks)}",
            **kwargs,
        )
        with handling_signals():
            runner.train()
        return runner

    whole = accumulated()
    with pytest.raises(Interrupted, match="at iteration 3:"):
        accumulated(Tell("before_train_iter", 1))
    path = str(tmp_path / "run/iter_3.pth")
    assert state(accumulated(load_from=path, resume=True)) == state(whole)


def tool(code, signal_number=signal.SIGINT):
    def main() -> None:
        code()
        os.kill(os.getpid(), signal_number)
        time.sleep(5)  # never reached

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit) as end:
            run_command(main)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return end.value.code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_tool_without_checkpoints_ends_with_a_sentence(capfd, number, code):
    assert tool(lambda: None, number) == code
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert capfd.readouterr().err == f"Interrupted ({name}).\n"


def test_before_the_first_iteration_nothing_is_saved(capfd):
    def begin() -> None:
        request.place = " before the first iteration: there is nothing to save"

    assert tool(begin) == 143
    said = "Interrupted (Ctrl-C) before the first iteration: there is nothing to save.\n"
    assert capfd.readouterr().err == said


def tell_oneself(pauses: tuple[float, ...]) -> None:
    with handling_signals():
        request.patient = True
        for pause in pauses:
            time.sleep(pause)
            os.kill(os.getpid(), signal.SIGTERM)
    os._exit(0)


@pytest.mark.parametrize(("pauses", "code"), [((0, 0.1), 0), ((0, 1.1), 143)])
def test_a_second_request_ends_at_once(capfd, pauses, code):
    """One Ctrl-C may arrive twice, from the terminal and from a launcher."""
    process = multiprocessing.get_context("fork").Process(target=tell_oneself, args=[pauses])
    process.start()
    process.join(20)
    assert process.exitcode == code
    said = "Interrupted twice: ends at once, without another checkpoint."
    assert (said in capfd.readouterr().err) == bool(code)


class Mortal(Numbers):
    """Data that live in a process of their own, which is killed or told to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.main = os.getpid()

    def __getitem__(self, index: int) -> torch.Tensor:
        if os.getpid() != self.main and index == 5:
            if self.number == signal.SIGKILL:
                os.kill(os.getpid(), signal.SIGKILL)
            else:  # as from Slurm, to all processes
                subprocess.run(["kill", f"-{self.number}", str(os.getpid())], check=True)
                time.sleep(0.2)
        return super().__getitem__(index)


def loader(number: int) -> dict:
    return dict(
        dataset=Mortal(number),
        batch_size=2,
        num_workers=1,
        sampler=dict(type="DefaultSampler", shuffle=True),
    )


def children() -> list[str]:
    return [
        path.name
        for path in Path("/proc").glob("[0-9]*")
        if (path / "stat").exists()
        and (path / "stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
        and "Z" not in (path / "stat").read_text().rpartition(")")[2].split()[0]
    ]


@pytest.fixture
def torchs_handler(monkeypatch):
    """torch's handler of ended processes, installed anew by the next loader."""
    monkeypatch.setattr(torch.utils.data._utils.signal_handling, "_SIGCHLD_handler_set", False)
    yield
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def test_a_killed_worker_is_explained(tmp_path, torchs_handler):
    before = set(children())
    began = time.monotonic()
    with pytest.raises(RunEndedError) as error, explaining_dead_workers("Resume."):
        run(tmp_path, dict(EPOCHS), train_dataloader=loader(signal.SIGKILL))
    assert error.value.code == 1
    assert "A process that loads data (" in str(error.value)
    assert "killed by signal: Killed; most likely the memory was used up" in str(error.value)
    assert str(error.value).endswith("Resume.")
    del error  # its traceback holds the loader
    assert set(children()) <= before
    assert time.monotonic() - began < 100


@pytest.mark.parametrize("dead", [True, False])
def test_a_connection_that_breaks_is_asked_for_its_reason(monkeypatch, torchs_handler, dead):
    def ask() -> None:
        if dead:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is")

    monkeypatch.setattr(data_workers, "_error_if_any_worker_fails", ask)
    with (
        pytest.raises(RunEndedError if dead else ConnectionResetError) as error,
        explaining_dead_workers("Resume."),
    ):
        raise ConnectionResetError("reset by peer")
    assert ("shared memory (/dev/shm)" in str(error.value)) == dead


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_to_the_group_leave_workers_alive(tmp_path, torchs_handler, number, capfd):
    before = set(children())
    runner = run(tmp_path, dict(EPOCHS), train_dataloader=loader(number))
    assert runner.iter == 18
    del runner
    assert set(children()) <= before
    assert "Traceback" not in capfd.readouterr().err
