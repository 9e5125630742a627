"""`make test-gpu`: without a GPU it says how many tests were skipped, and does not look passed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_skipped_tests_are_counted_with_their_reason():
    (line,) = re.findall(r"test-gpu:.*\n\t(.*)", (ROOT / "Makefile").read_text())
    *variables, command = re.split(r" (?=\$\()", line)
    arguments = command.split()[1:]
    done = subprocess.run(
        [sys.executable, *arguments, "tests/ops/test_roi_align.py", "tests/detection/test_rle.py"],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert variables == ["CONVNEXT_DENSE_KERNELS=1"] and done.returncode == 0, done.stdout
    skipped = re.findall(r"SKIPPED \[(\d+)\] .*: needs a CUDA device", done.stdout)
    total = sum(map(int, skipped))
    assert total > 30 and " passed" not in done.stdout
    assert f"{total} tests need a CUDA device: skipped" in done.stdout
