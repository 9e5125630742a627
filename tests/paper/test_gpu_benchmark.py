"""benchmarks/gpu.py, tried on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_script_runs_and_a_line_that_fails_says_why(tmp_path):
    file = tmp_path / "rows.json"
    lines = ["--lines", "train tiny", "views detector", "--json", str(file)]
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--small", "--no-tests"]
    done = subprocess.run([*command, "--rounds", "1", *lines], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    backbone, views = json.loads(file.read_text())
    assert backbone["ratio"] == pytest.approx(backbone["ours"] / backbone["peer"])
    assert backbone["of_ideal"] == pytest.approx(backbone["ours"] / 663)
    assert views["ratio"] or "mmpretrain" in views["said"]
