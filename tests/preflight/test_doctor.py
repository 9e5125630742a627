"""The doctor: what it says of a healthy environment, and of broken ones."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from convnext_dense.preflight import doctor
from convnext_dense.preflight.doctor import BROKEN, OK, WARNING

ROOT = Path(__file__).parents[2]


def examine(folder: Path, *flags: str, **env: str) -> tuple[int, str, str]:
    """The tool itself, with a folder before all installed packages."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/doctor.py"), *flags],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder), **env},
        cwd=folder,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_broken_torch_is_a_line_and_no_traceback(tmp_path):
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.12: cannot open')")
    code, said, chatter = examine(tmp_path, "--json")
    assert code == 2 and "Traceback" not in said + chatter
    report = json.loads(said)
    broken = {row["topic"]: row for row in report["findings"] if row["state"] == BROKEN}
    assert not report["usable"]
    assert broken["import torch"]["found"] == "OSError: libcudart.so.12: cannot open"
    assert "requirements/lock.txt" in broken["import torch"]["fix"]
    assert {"import torchvision", "import convnext_dense"} <= set(broken)  # need it too
    assert any(row["topic"] == "disk" for row in report["findings"])  # the rest is looked at


def test_this_environment_is_usable():
    findings = doctor.examine()
    assert [finding for finding in findings if finding.state == BROKEN] == []
    rows = {finding.topic: finding.found for finding in findings}
    assert rows["torch"].startswith(version("torch"))
    assert rows["mmcv's operators"].endswith("nms and roi_align work")
    assert rows["import mmdet.models"] == "works"


def faked(monkeypatch, **versions: str | None) -> None:
    """Other installed versions than the real ones; None for none."""
    names = {name.replace("_", "-"): value for name, value in versions.items()}
    real = doctor.installed
    monkeypatch.setattr(doctor, "installed", lambda name: names.get(name, real(name)))


@pytest.mark.parametrize(
    ("check", "versions", "state", "topic", "said"),
    [
        ("packages", dict(torch="2.4.0"), BROKEN, "torch", "pip install 'torch>=2.7'"),
        ("packages", dict(mmcv_lite="2.2.0"), BROKEN, "mmcv-lite", "mmcv-lite>=2.1,<2.2"),
        ("pairs", dict(torch="2.9.1+cu128"), BROKEN, "torch and torchvision", "torch 2.9.1"),
        (
            "pairs",
            dict(mmpretrain="1.2.0", transformers="5.1.0"),
            BROKEN,
            "mmpretrain and transformers",
            "pip uninstall mmpretrain",
        ),
        (
            "clashes",
            {"opencv-python": "5.0.0", "opencv-python-headless": "4.13.0"},
            WARNING,
            "opencv-python and opencv-python-headless",
            "pip uninstall opencv-python opencv-python-headless",
        ),
    ],
)
def test_known_bad_combinations_have_a_fix(monkeypatch, check, versions, state, topic, said):
    assert state not in {finding.state for finding in getattr(doctor, check)()}
    faked(monkeypatch, **versions)
    found = next(one for one in getattr(doctor, check)() if one.state == state)
    assert found.topic == topic and said in f"{found.found} {found.fix}"


def test_what_a_task_needs_is_a_warning(monkeypatch):
    real = doctor.installed
    missing = ("mmdet", "mmcv-lite")
    monkeypatch.setattr(doctor, "installed", lambda n: None if n in missing else real(n))
    found = {finding.topic: finding for finding in doctor.packages()}
    assert found["mmdet"].state == WARNING and "needed for detection" in found["mmdet"].fix
    monkeypatch.setattr(doctor, "installed", lambda n: None if n == "timm" else real(n))
    assert next(f for f in doctor.packages() if f.topic == "timm").state == BROKEN


def test_a_wrong_operator_is_found(monkeypatch):
    import mmcv.ops

    assert [finding.state for finding in doctor.operators()] == [OK]
    nms = mmcv.ops.nms
    monkeypatch.setattr(mmcv.ops, "nms", lambda boxes, scores, limit: nms(boxes, scores, 0.99))
    (finding,) = doctor.operators()
    assert finding.state == BROKEN and "nms [0, 1, 2]" in finding.found


def test_small_resources_and_slow_variables_are_warned_of(monkeypatch):
    monkeypatch.setattr(
        doctor.shutil, "disk_usage", lambda _: type("", (), dict(total=64 * 2**20, free=10))
    )
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda _: (256, 256))
    monkeypatch.setenv("OMP_NUM_THREADS", "999")
    monkeypatch.setenv("NCCL_P2P_DISABLE", "1")
    monkeypatch.setenv("NCCL_DEBUG", "INFO")
    found = {finding.topic: finding for finding in (*doctor.machine(), *doctor.variables())}
    bad = {topic for topic, finding in found.items() if finding.state == WARNING}
    assert bad == {"shared memory", "open files", "disk", "threads", "NCCL_P2P_DISABLE"}
    assert "--shm-size" in found["shared memory"].fix and found["NCCL_DEBUG"].state == OK


@pytest.mark.parametrize(("value", "states"), [("1", [OK]), ("on", [BROKEN]), ("", [])])
def test_the_switch_of_the_kernels_is_told(monkeypatch, value, states):
    monkeypatch.setenv("CONVNEXT_DENSE_KERNELS", value)
    assert [finding.state for finding in doctor.variables()] == states


def test_a_check_that_fails_is_a_finding(monkeypatch):
    monkeypatch.setattr(doctor, "pairs", lambda: 1 / 0)
    (finding,) = [one for one in doctor.examine() if one.state == BROKEN]
    assert "ZeroDivisionError" in finding.found


@pytest.mark.parametrize("source", ["setup.py", "metadata"])
def test_ranges_come_from_the_package(monkeypatch, tmp_path, source):
    if source == "metadata":
        monkeypatch.setattr(doctor, "ROOT", tmp_path)
    found = {text.split(">")[0].split("<")[0]: part for text, part in doctor.requirements()}
    assert found["torch"] == "" and "detection" in found["mmdet"]
