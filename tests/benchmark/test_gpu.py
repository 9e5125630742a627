"""benchmarks/gpu.py on a CPU: its parts, their processes, and the tables."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest
from mmengine.config import Config
from processes import Row, Setting, make_groups
from report import check_table, choose, speed_table, verdict
from speed import LINES

from convnext_dense.benchmark import libraries, networks
from convnext_dense.errors import UserError

ROOT = Path(__file__).parents[2]
# A worker whose parts fail as their names say; the other parts must run nevertheless.
WORKER = """
import json, os, sys, time
task = json.loads(sys.argv[1])
if "first/cannot-begin" in task["names"]:
    sys.exit(7)
for name in task["names"]:
    if time.time() > task["until"]:
        print(json.dumps(dict(name=name, state="not run", said=task["over"])), flush=True)
        continue
    print(json.dumps(dict(start=name)), flush=True)
    if name.endswith("crash"):
        os.abort()
    if name.endswith("hang"):
        time.sleep(60)
    state = "FAILED" if name.endswith("breaks-the-device") else "passed"
    print(json.dumps(dict(name=name, state=state, seconds=0.1)), flush=True)
    if state == "FAILED":
        sys.exit(3)
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The rows of parts that the worker above runs, by name."""
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setattr(processes, "WORKER", tmp_path / "worker.py")

    def make(*names, seconds=30.0, grace=30.0):
        begin = time.time()
        rows = make_groups(names, Setting("cpu", begin, seconds, grace, limit=0.4))
        assert time.time() - begin < 5  # a part that hangs would take a minute
        assert [row.name for row in rows] == list(names)
        return {row.name.partition("/")[2]: (row.state, row.said) for row in rows}

    return make


def test_a_part_that_ends_its_process_does_not_stop_the_others(made):
    parts = ["a/one", "a/crash", "a/two", "b/three", "a/breaks-the-device", "a/four"]
    found = made(*parts)
    assert found.pop("crash") == ("FAILED", "Its process was ended by SIGABRT.")
    assert found.pop("breaks-the-device") == ("FAILED", "")
    assert set(found) == {"one", "two", "three", "four"}
    assert set(found.values()) == {("passed", "")}


def test_a_part_that_hangs_is_ended(made):
    found = made("a/hang", "a/after")
    assert found == {
        "hang": ("FAILED", "It took longer than 0 s."),
        "after": ("passed", ""),
    }


def test_nothing_starts_when_the_time_is_over(made):
    over = ("not run", "0 minutes are over.")
    assert made("a/one", "b/two", seconds=0) == {"one": over, "two": over}
    over = ("not run", "0.00167 minutes are over.")
    assert made("a/hang", "a/after", seconds=0.1, grace=0.1) == {"hang": over, "after": over}


def test_a_process_that_cannot_begin_is_tried_once(made):
    found = made("first/cannot-begin", "first/other", "second/fine")
    said = "Its process ended with code 7; its output is above."
    assert found["cannot-begin"] == found["other"] == ("FAILED", said)
    assert found["fine"] == ("passed", "")


def test_parts_are_chosen_by_name():
    known = ["fused/eval", "fused/eval-bf16", "ops/nms"]
    assert choose(["fused/eval"], known) == ["fused/eval"]
    assert choose(["nms", "bf16"], known) == known[1:]
    with pytest.raises(UserError, match="No part has 'soft' in its name"):
        choose(["soft"], known)


def test_tables():
    rows = [Row("ops/nms", "passed", seconds=1.2), Row("ops/x", "FAILED", "Off.")]
    assert check_table(rows).splitlines()[-1] == "1 passed, 1 FAILED, 0 not run"
    assert check_table(rows).splitlines()[1].endswith("FAILED     0.0 s  Off.")
    rows = [
        Row("speed/a", "measured", ours=300.0, plain=200.0, peer=150.0, ratio=2.0, to_plain=1.5),
        Row("speed/b", "not run", "8 minutes are over."),
    ]
    text = speed_table(rows).splitlines()
    assert text[1].split()[:5] == ["speed/a", "300.0", "200.0", "150.0", "2.00"]
    assert text[2].endswith("not run: 8 minutes are over.")


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ([1.5, 1.0], "favour the fused kernels: the kernels have 1.22 times .* slower in none"),
        ([0.9, 1.0], "favour the plain path: .* 0.95 times .* 2 of 2 lines .*slower in line0"),
        ([1.01, 1.0], "favour the plain path"),
        ([None, None], "nothing is favoured"),
    ],
)
def test_the_last_line_says_which_path_the_figures_favour(ratios, words):
    rows = [Row(f"line{i}", "measured", to_plain=ratio) for i, ratio in enumerate(ratios)]
    assert re.search(words, verdict(rows, kernels=""))
    assert "say nothing about the fused kernels" in verdict(rows, kernels="No GPU.")


def test_every_line_has_a_plain_network_and_a_peer():
    for line in LINES.values():
        for name in (line.plain, line.peer):
            assert Path(name).is_file() or name.partition(":")[0] in libraries.LIBRARIES
    network = networks.build("plain:convnext_atto", (64, 64))
    assert not any(module.fast for module in network.modules() if hasattr(module, "fast"))
    plain = Config.fromfile(LINES["speed/detect-detector"].plain)
    assert plain.model.backbone.fast is False


def run(*arguments, code=0):
    command = [sys.executable, "benchmarks/gpu.py", *map(str, arguments)]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.returncode == code, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_script_runs_and_a_line_that_fails_says_why(tmp_path):
    file = tmp_path / "rows.json"
    parts = ["--parts", "ops/nms", "speed/train-tiny", "views-detector", "--json", file]
    run("--device", "cpu", "--small", "--rounds", 1, *parts)
    check, backbone, views = json.loads(file.read_text())
    assert (check["name"], check["state"]) == ("ops/nms", "passed")
    assert backbone["ratio"] == pytest.approx(backbone["ours"] / backbone["peer"])
    assert backbone["to_plain"] == pytest.approx(backbone["ours"] / backbone["plain"])
    assert backbone["of_ideal"] == pytest.approx(backbone["ours"] / 663)
    assert views["ratio"] or "mmpretrain" in views["said"]


@pytest.mark.slow
def test_a_check_that_fails_is_the_exit_code(tmp_path, monkeypatch):
    broken = tmp_path / "pycocotools"
    broken.mkdir()
    (broken / "__init__.py").write_text("")  # without the mask module
    paths = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    monkeypatch.setenv("PYTHONPATH", paths)
    parts = ["--parts", "ops/mask-rle", "ops/nms", "cuda-graph"]
    output = run("--device", "cpu", *parts, code=1)
    assert "ops/mask-rle: FAILED ImportError: cannot import name 'mask'" in output
    assert "1 passed, 1 FAILED, 1 not run" in output


@pytest.mark.slow
def test_without_a_gpu_the_script_asks_for_one():
    assert "there is none; --device cpu" in run("--check", code=2)
    assert run("--list").split()[:2] == ["fused/available", "fused/train-float32"]
