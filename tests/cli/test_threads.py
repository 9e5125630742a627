"""The commands' OpenMP threads do not spin long: set before torch is imported, or left alone."""

import os
import subprocess
import sys

import pytest

from convnext_dense.cli.shared.threads import SPINS
from tests.running import ROOT

OPEN = """
import os, sys
from convnext_dense.cli import main
report = lambda work: print("torch" in sys.modules, os.environ.get("GOMP_SPINCOUNT"))
main._import_run_command = lambda: report
main.main(["configs"])
"""
NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, SPINS),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, None),
    ],
)
def test_threads_wait_as_the_environment_says_and_else_briefly(given, expected):
    env = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", OPEN],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env | given,
        check=True,
    )
    assert done.stdout.split() == ["False", str(expected)]
