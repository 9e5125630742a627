"""The real packages, where they are installed: runs on this machine, without a network."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Two trainings into one folder, the second one resumed: rows, an image, a file, another rate.
RUN = """
import sys
from pathlib import Path
import numpy as np
from mmengine.config import Config
from mmengine.registry import VISBACKENDS
import convnext_dense.trackers

kind, folder = sys.argv[1], Path(sys.argv[2])
(folder / "metrics.json").write_text("{}")
for rate in (0.5, 0.25):
    tracker = VISBACKENDS.build(dict(type=kind))
    optimizer = dict(type="AdamW", lr=rate)
    tracker.add_config(
        Config(dict(work_dir=str(folder), optim_wrapper=dict(optimizer=optimizer)))
    )
    for step in (1, 2, 3):
        step += 10 * (rate == 0.25)
        tracker.add_scalars(dict(loss=rate, iter=step), step=step)
    tracker.iteration = step
    tracker.add_scalars({"coco/traffic light (red)": rate}, step=1)
    tracker.add_image("val/0", np.full((8, 9, 3), 200, np.uint8), step=step)
    tracker.add_file(folder / "metrics.json")
    assert not tracker._missed, "the package refused something"
    tracker.close()
    assert not tracker._missed
"""


def run(package: str, kind: str, folder: Path, **env: str) -> Path:
    """Runs both trainings; returns their work folder."""
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install {package}")
    work_dir = folder / "birds"
    work_dir.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RUN, kind, str(work_dir)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **env},
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return work_dir


def test_mlflow_with_its_file_store(tmp_path):
    store = tmp_path / "mlruns"
    run("mlflow", "MLflowTracker", tmp_path, MLFLOW_TRACKING_URI=f"file:{store}")
    (folder,) = [path.parent for path in store.glob("*/*/metrics")]
    loss = (folder / "metrics/train/loss").read_text().split()
    assert loss[2::3] == ["1", "2", "3", "11", "12", "13"]
    assert loss[1::3] == ["0.5"] * 3 + ["0.25"] * 3
    figure = (folder / "metrics/val/traffic light _red_").read_text().split()
    assert figure[1::3] == ["0.5", "0.25"] and figure[2::3] == ["3", "13"]
    assert (folder / "params/learning rate").read_text() == "0.5"
    assert "lr=0.25" in (folder / "artifacts/config.py").read_text()
    assert (folder / "artifacts/metrics.json").is_file()
    steps = {path.name.split("+")[2] for path in (folder / "artifacts/images").glob("*.png")}
    assert steps == {"3", "13"}
    assert "status: 3" in (folder / "meta.yaml").read_text()  # finished


def test_wandb_offline(tmp_path):
    work_dir = run("wandb", "WandbTracker", tmp_path, WANDB_MODE="offline")
    runs = sorted((work_dir / "wandb").glob("offline-run-*"))
    assert len(runs) == 2 and len({path.name.rsplit("-", 1)[1] for path in runs}) == 1
    logged = b"".join(file.read_bytes() for path in runs for file in path.glob("*.wandb"))
    assert all(name in logged for name in (b"train/loss", b"val/traffic light (red)"))
    assert len(list((work_dir / "wandb").rglob("images/val/*.png"))) == 2


def test_trackio_on_this_machine(tmp_path):
    import sqlite3

    run("trackio", "TrackioTracker", tmp_path, TRACKIO_DIR=str(tmp_path / "store"))
    with sqlite3.connect(tmp_path / "store/convnext_dense.db") as store:
        rows = store.execute("select run_name, step, cast(metrics as blob) from metrics").fetchall()
    assert len({name for name, _, _ in rows}) == 1
    losses = [step for _, step, metrics in rows if b"train/loss" in bytes(metrics)]
    assert sorted(losses) == [1, 2, 3, 11, 12, 13]
    assert len(list((tmp_path / "store/media").rglob("*.png"))) == 2
