"""Several processes: the same training as one, started by torchrun or Slurm, ended together."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from convnext_dense.config import launcher
from convnext_dense.data.shapes.dataset import prepare_shapes
from convnext_dense.errors import UserError
from convnext_dense.weights import read_checkpoint

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
ENV = {
    **{key: value for key, value in os.environ.items() if not key.startswith("SLURM")},
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONPATH": str(ROOT),
}
LOGGED = """
default_hooks = dict(logger=dict(interval=1))
log_processor = dict(window_size=1)
"""
# No stochastic depth; the pictures' augmentation has a seed for each image.
CLASSIFIER = f"""
_base_ = ["{ROOT}/configs/classification/convnext_a_shapes.py"]
model = dict(backbone=dict(arch=dict(_delete_=True, depths=(1, 1, 2, 1), dims=(8, 8, 8, 8))))
train_dataloader = dict(
    batch_size=4, dataset=dict(data_root="mini/cls/train", transform=dict(size=32))
)
val_dataloader = dict(dataset=dict(data_root="mini/cls/val", transform=dict(size=32)))
test_dataloader = val_dataloader
{LOGGED}"""
# mmdet divides a loss by the process's own count of RoIs, that of the masks by its positive ones.
# Here each image has as many, and is as large, whatever images it is batched with.
DETECTOR = f"""
_base_ = ["{ROOT}/configs/detection/mask_rcnn_convnext_a_shapes.py"]
custom_imports = dict(imports=[*_base_.custom_imports.imports, "tests.engine.first_sampler"])
model = dict(
    backbone=dict(arch=dict(_delete_=True, depths=(1, 1, 2, 1), dims=(8, 16, 16, 16))),
    neck=dict(in_channels=[8, 16, 16, 16]),
    train_cfg=dict(
        rpn=dict(sampler=dict(type="FirstSampler")),
        rcnn=dict(sampler=dict(type="FirstSampler", num=32, pos_fraction=1 / 32)),
    ),
)
pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="Resize", scale=(128, 128), keep_ratio=False),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(
    batch_size=2, batch_sampler=None, dataset=dict(data_root="mini", pipeline=pipeline)
)
val_dataloader = dict(dataset=dict(data_root="mini"))
test_dataloader = val_dataloader
{LOGGED}"""

# The recipe's augmentation. GroupNorm, since without CUDA each process would have a BatchNorm of
# its own images; and the plain mean over pixels, of which each image has as many.
SEGMENTOR = f"""
_base_ = ["{ROOT}/configs/segmentation/upernet_convnext_a_shapes.py"]
loss = dict(_delete_=True, type="CrossEntropyLoss")
model = dict(
    backbone=dict(arch=dict(_delete_=True, depths=(1, 1, 2, 1), dims=(8, 16, 16, 16))),
    decode_head=dict(in_channels=[8, 16, 16, 16], loss_decode=loss),
    auxiliary_head=dict(in_channels=16, loss_decode=loss),
)
train_dataloader = dict(dataset=dict(data_root="mini"))
val_dataloader = dict(dataset=dict(data_root="mini"))
test_dataloader = val_dataloader
{LOGGED}"""


@pytest.fixture(autouse=True)
def _same_environment():
    """``announce`` writes variables, which no other test of this process may see."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    """``mini/``: 20 training images with shapes, 48 of one shape each: whole steps."""
    root = tmp_path_factory.mktemp("data")
    prepare_shapes(root, train=21, val=1, cls_train=8, cls_val=1).rename(root / "mini")
    return root


@pytest.fixture
def classifier(tmp_path) -> Path:
    path = tmp_path / "classifier.py"
    path.write_text(CLASSIFIER)
    return path


def run(command: list, **env: str) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env={**ENV, **env}, timeout=400
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def curve(work_dir: Path) -> list[dict]:
    lines = next(work_dir.glob("*/vis_data/scalars.json")).read_text().splitlines()
    return [row for row in map(json.loads, lines) if "loss" in row]


def assert_same_curve(
    tool: str, config: Path, data_root: Path, tmp_path: Path, flags=(), tolerance=1e-4
) -> None:
    """Trains in one process with twice the batch and in two, and compares every loss."""
    train = [ROOT / f"tools/{tool}.py", config, "--data-root", data_root, "--seed", 0]
    train += ["--max-iters", 20]
    batch = 8 if tool == "pretrain_cls" else 4
    options = ["--cfg-options", f"train_dataloader.batch_size={batch}"]
    run([sys.executable, *train, "--work-dir", tmp_path / "one", *options])
    two = ["--work-dir", tmp_path / "two", "--launcher", "pytorch", *flags]
    run([*TORCHRUN, *train, *two])
    one, other = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(one) == len(other) == 20
    for row, its in zip(one, other, strict=True):
        for name in (name for name in row if "loss" in name):
            assert its[name] == pytest.approx(row[name], abs=tolerance), (name, row["step"])
    assert one[-1]["loss"] != one[0]["loss"]


def test_two_processes_train_a_classifier_as_one_does(classifier, data_root, tmp_path):
    assert_same_curve("pretrain_cls", classifier, data_root, tmp_path)


@pytest.mark.slow
def test_fsdp_trains_as_one_process_does_and_goes_on_in_one(classifier, data_root, tmp_path):
    assert_same_curve("pretrain_cls", classifier, data_root, tmp_path, ["--fsdp"])
    assert re.search(r"FSDP: this process holds ([\d,]+) of", log_of(tmp_path / "two"))
    train = [ROOT / "tools/pretrain_cls.py", classifier, "--data-root", data_root]
    half, single = tmp_path / "half", tmp_path / "single"
    fsdp = ["--launcher", "pytorch", "--fsdp", "--work-dir", half]
    run([*TORCHRUN, *train, *fsdp, "--max-iters", 9, "--seed", 0])
    shutil.copytree(half, single)
    run([*TORCHRUN, *train, *fsdp, "--max-iters", 20, "--resume"])
    whole = ["--cfg-options", "train_dataloader.batch_size=8"]
    run([sys.executable, *train, "--work-dir", single, "--max-iters", 20, "--resume", *whole])
    expected = read_checkpoint(tmp_path / "two/iter_20.pth")
    for folder, tolerance in ((half, 0.0), (single, 1e-6)):
        found = read_checkpoint(folder / "iter_20.pth")
        for part in ("state_dict", "state_dict_ema", "optimizer"):
            torch.testing.assert_close(
                tensors(found[part]), tensors(expected[part]), rtol=0, atol=tolerance
            )


def log_of(work_dir: Path) -> str:
    return next(work_dir.glob("*/*.log")).read_text()


def tensors(node) -> list[torch.Tensor]:
    """All tensors of nested dicts and lists."""
    if isinstance(node, torch.Tensor):
        return [node]
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def test_fsdp_wants_several_processes(classifier, data_root):
    command = [sys.executable, ROOT / "tools/pretrain_cls.py", classifier, "--fsdp"]
    done = subprocess.run(
        list(map(str, [*command, "--data-root", data_root])),
        capture_output=True,
        text=True,
        env=ENV,
    )
    assert done.returncode == 2
    assert "error: --fsdp divides the model among processes, but there is one" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--fsdp"]])
def test_two_processes_train_a_detector_as_one_does(data_root, tmp_path, flags):
    config = tmp_path / "detector.py"
    config.write_text(DETECTOR)
    # Gradients summed in another order: one RoI more or less overlaps enough after some steps.
    assert_same_curve("train", config, data_root, tmp_path, flags, 1e-3 if flags else 1e-4)


@pytest.mark.slow
def test_two_processes_train_a_segmentor_as_one_does(data_root, tmp_path):
    config = tmp_path / "segmentor.py"
    config.write_text(SEGMENTOR)
    assert_same_curve("train", config, data_root, tmp_path)


@pytest.mark.slow
def test_a_killed_rank_ends_the_run(classifier, data_root, tmp_path):
    log, work_dir = tmp_path / "log", tmp_path / "run"
    command = [*TORCHRUN, ROOT / "tools/pretrain_cls.py", classifier, "--data-root", data_root]
    command += ["--work-dir", work_dir, "--launcher", "pytorch"]
    with log.open("w") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=file, env=ENV)
        deadline = time.time() + 120
        while "Epoch(train)" not in log.read_text() and time.time() < deadline:
            time.sleep(0.05)
        victim = rank_of_child(process.pid, 1)
        os.kill(victim, signal.SIGKILL)
        assert process.wait(timeout=60) != 0
    assert f"error: rank 1 (process {victim}) on {socket.gethostname()} ended" in log.read_text()
    assert "Start the same command again, on every machine, with --resume." in log.read_text()


def rank_of_child(parent: int, rank: int) -> int:
    """The process of a rank, among the children of torchrun."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_child = int(folder.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            variables = folder.joinpath("environ").read_bytes().split(b"\0")
        except OSError:  # another user's, or gone meanwhile
            continue
        if is_child == parent and f"RANK={rank}".encode() in variables:
            return int(folder.name)
    raise AssertionError(f"torchrun {parent} has no rank {rank}")


@pytest.mark.slow
def test_slurm_tasks_find_each_other(classifier, data_root, tmp_path):
    command = [sys.executable, ROOT / "tools/pretrain_cls.py", classifier, "--launcher", "slurm"]
    command += ["--data-root", data_root, "--max-iters", 2, "--work-dir", tmp_path / "run"]
    job = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "4321", "SLURM_NNODES": "1"}
    tasks = [
        subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**ENV, **job, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)},
        )
        for i in range(2)
    ]
    outputs = [task.communicate(timeout=200)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], outputs[0][-3000:]
    assert "4 images x 2 processes x 1 batches" in outputs[0]
    assert json.loads((tmp_path / "run/metrics.json").read_text())["pictures"] == 6


def test_slurm_speaks_torch(monkeypatch, tmp_path):
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_RANK", "0")  # what the tools assume before
    job = dict(PROCID=5, LOCALID=1, NTASKS=8, NNODES=2, NODELIST="n[7-8]", JOB_ID=12034)
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="export MASTER_ADDR"):
        launcher.announce("slurm")
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho n7\necho n8\n")
    (tmp_path / "scontrol").chmod(0o755)
    launcher.announce("slurm")
    found = {name: os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    assert found == {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("n7", "29534")


@pytest.mark.parametrize(("name", "starter"), [("pytorch", "torchrun"), ("mpi", "mpirun")])
def test_a_launcher_that_did_not_start_the_process_is_named(monkeypatch, name, starter):
    for variable in ("RANK", "OMPI_COMM_WORLD_RANK"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserError, match=f"start the tool by {starter}"):
        launcher.announce(name)
