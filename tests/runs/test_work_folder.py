"""A work folder belongs to one process at a time."""

import os
import subprocess
import sys

import pytest

from convnext_dense.errors import UserError
from convnext_dense.runs.work_folder import claim, lock

HOLD = """
import sys
from pathlib import Path
from convnext_dense.runs.work_folder import lock
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


def test_of_many_that_start_at_once_one_gets_in(tmp_path):
    """Forked processes that wait for one another and claim the same folder."""
    (ready, go), (said, say) = os.pipe(), os.pipe()
    children = []
    for _ in range(8):
        children.append(os.fork())
        if not children[-1]:
            os.close(go)
            os.read(ready, 1)  # returns for all at once, where the parent closes its end
            try:
                claim(tmp_path, resume=False)
                (tmp_path / "lr_groups.csv").touch()
                os.write(say, b"1")
                os.read(os.pipe()[0], 1)  # trains until it is killed
            except UserError as error:
                assert "Another process writes into" in str(error)
                os.write(say, b"0")
            except BaseException:
                os.write(say, b"?")
            os._exit(0)
    os.close(go)
    answers = b"".join(os.read(said, 1) for _ in children)
    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert sorted(answers) == sorted(b"0" * 7 + b"1")
    with pytest.raises(UserError, match="holds a run already"):
        claim(tmp_path, resume=False)
    claim(tmp_path, resume=True)
