"""A work folder belongs to one process at a time."""

import subprocess
import sys

import pytest

from convnext_dense.engine.workdir import claim, lock
from convnext_dense.errors import UserError

HOLD = """
import sys
from pathlib import Path
from convnext_dense.engine.workdir import lock
lock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_kept_out_until_the_first_is_gone(tmp_path):
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert first.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match="Another process writes into"):
            claim(tmp_path, resume=False)
        with pytest.raises(UserError, match="Another process writes into"):
            claim(tmp_path, resume=True)
        assert not (tmp_path / "env.json").exists()
    finally:
        first.kill()  # as kill -9: nothing tidies up
        first.wait()
    claim(tmp_path, resume=False)
    assert (tmp_path / "env.json").exists()


def test_one_process_may_claim_its_folder_again(tmp_path):
    lock(tmp_path)
    claim(tmp_path, resume=True)
    assert (tmp_path / "env.json").exists()
