"""The tools themselves, alone and in two processes: signals, numbers that go wrong, the replay."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from convnext_dense.cli.shared.train_settings import stop_after
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.engine import FiniteChecksHook, build_runner
from convnext_dense.preflight.replay import replay
from convnext_dense.weights import read_checkpoint
from tests.runs.test_processes import (
    CLASSIFIER,
    DETECTOR,
    ENV,
    ROOT,
    TORCHRUN,
    data_root,
    tensors,
)

__all__ = ["data_root"]  # the fixture
TOOL = ROOT / "tools/pretrain_cls.py"
TROUBLE = """
custom_imports = dict(imports=["convnext_dense.classification", "tests.engine.trouble"])
custom_hooks = [*_base_.custom_hooks, {hook}]
"""


def run(folder: Path, data_root: Path, hook: str, *flags, processes=1) -> tuple[int, str]:
    folder.mkdir(exist_ok=True)
    config = folder / f"config{len(list(folder.glob('*.py')))}.py"
    config.write_text(CLASSIFIER + (TROUBLE.format(hook=hook) if hook else ""))
    start = TORCHRUN if processes > 1 else [sys.executable]
    more = ["--launcher", "pytorch"] if processes > 1 else []
    command = [*start, TOOL, config, "--data-root", data_root, "--work-dir", folder / "run"]
    done = subprocess.run(
        [*map(str, command), *more, *map(str, flags)],
        capture_output=True,
        text=True,
        env=ENV,
        timeout=300,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_one_told_process_of_two_ends_both_with_one_checkpoint(data_root, tmp_path):
    flags = ("--max-iters", 6, "--seed", 0)
    run(tmp_path / "whole", data_root, "", *flags, processes=2)
    folder = tmp_path / "cut"
    code, said = run(folder, data_root, "dict(type='SignalHook', rank=1, iteration=3)", *flags,
                     processes=2)  # fmt: skip
    assert code and said.count("exitcode  : 143") == 2
    assert "Interrupted (another process was) at iteration 3:" in said
    assert [path.name for path in (folder / "run").glob("*.pth")] == ["iter_3.pth"]
    code, said = run(folder, data_root, "", *flags, "--resume", processes=2)
    assert code == 0, said[-3000:]
    found, expected = (
        read_checkpoint(tmp_path / name / "run/iter_6.pth") for name in ("cut", "whole")
    )
    for part in ("state_dict", "state_dict_ema", "optimizer"):
        pairs = zip(tensors(found[part]), tensors(expected[part]), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.slow
def test_two_processes_leave_an_evaluation_together(data_root, tmp_path):
    hook = "dict(type='SignalHook', rank=1, iteration=6, evaluation=True)"
    flags = ("--cfg-options", "train_cfg.val_interval=1", "val_dataloader.batch_size=1")
    code, said = run(tmp_path, data_root, hook, *flags, processes=2)
    assert code and said.count("exitcode  : 143") == 2
    assert "Interrupted (another process was) at iteration 6:" in said
    assert read_checkpoint(tmp_path / "run/iter_6.pth")["evaluation_due"]
    code, said = run(tmp_path, data_root, "", *flags, "--resume", "--max-iters", 7, processes=2)
    assert code == 0, said[-3000:]
    log = max((tmp_path / "run").glob("*/*.log")).read_text()
    kinds = re.findall(r"Epoch\((train|val)\) +\[\d+\]\[ *\d/", log)
    assert kinds[0] == "val" and kinds.count("train") == 1


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_bad_numbers_end_the_tool_and_can_be_replayed(data_root, tmp_path, processes):
    rank = processes - 1
    hook = f"dict(type='PoisonHook', rank={rank}, first=2, last=12)"
    code, said = run(tmp_path, data_root, hook, "--max-iters", 20, processes=processes)
    assert code == 3 if processes == 1 else code != 0 and "exitcode  : 3" in said
    assert "Iteration 2: the loss is not finite (" in said and "1 in a row of 10." in said
    if processes == 2:
        assert "rank 1: loss nan" in said and "rank 0: loss" not in said
    dump = tmp_path / f"run/nonfinite_iter_11_rank_{rank}.pth"
    assert f"--replay {dump}" in said
    assert [path.name for path in (tmp_path / "run").glob("nonfinite*")] == [dump.name]
    replay = [sys.executable, TOOL, tmp_path / "run/config0.py", "--replay", dump]
    done = subprocess.run([*map(str, replay)], capture_output=True, text=True, env=ENV)
    # Without the hook that poisons it the step is fine.
    assert done.returncode == 0, done.stderr[-3000:]
    assert "All numbers are finite this time." in done.stdout and "mini/cls/train" in done.stdout


class Keep(Hook):
    """Writes the second step of a run that has nothing wrong with it, as it was before."""

    priority = "LOWEST"

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.state = {name: value.clone() for name, value in runner.model.state_dict().items()}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.terms = {name: float(value) for name, value in outputs.items()}
        hook = next(hook for hook in runner.hooks if isinstance(hook, FiniteChecksHook))
        hook._write(runner, Path(runner.work_dir) / "step.pth", self.state)


@pytest.mark.slow
def test_a_detectors_step_is_repeated_to_the_last_bit(data_root, tmp_path):
    """Boxes and masks travel as plain data; samplers draw what they drew."""
    config = tmp_path / "detector.py"
    config.write_text(DETECTOR)
    cfg = load_fitted_config(config, data_root=data_root)
    stop_after(cfg, 2, {})
    cfg.work_dir = str(tmp_path / "run")
    for entry in ("val_cfg", "val_dataloader", "val_evaluator"):
        cfg.pop(entry)
    runner = build_runner(cfg)
    keep = Keep()
    runner.register_hook(keep)
    runner.train()
    lines = replay(cfg, str(tmp_path / "run/step.pth"))
    assert "mini/train" in lines[-2] and lines[-1] == "All numbers are finite this time."
    terms = [f"  {name} {value:g}" for name, value in keep.terms.items()]
    assert [line for line in lines if line in terms] == terms and len(terms) > 5


@pytest.mark.slow
def test_ctrl_c_leaves_no_traceback_and_no_process(data_root, tmp_path):
    flags = ("--cfg-options", "train_dataloader.num_workers=2")
    hook = f"dict(type='SignalHook', rank=0, iteration=3, number={int(signal.SIGINT)})"
    code, said = run(tmp_path, data_root, hook, *flags)
    assert code == 143 and "Traceback" not in said
    assert said.rstrip().endswith("iter_3.pth is written, --resume goes on from it.")
    time.sleep(1)
    mine = f"{tmp_path}".encode()
    lines = [
        path for path in Path("/proc").glob("[0-9]*/cmdline") if int(path.parts[2]) != os.getpid()
    ]
    assert not [path for path in lines if path.exists() and mine in path.read_bytes()]
