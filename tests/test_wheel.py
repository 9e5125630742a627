"""The wheel in an empty folder, as a user has it: no clone, no tools, one command."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("convnext_dense", "configs", "setup.py", "pyproject.toml", "README.md", "LICENSE")
CONFIG = "cascade_convnext_a_shapes"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built in a copy so that nothing is left in this folder."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        here = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__")
        (shutil.copytree(here, source / name, ignore=ignore) if here.is_dir()
         else shutil.copy(here, source))  # fmt: skip
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps",
               "--no-build-isolation", "--wheel-dir", str(out), str(source)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def command(wheel, tmp_path_factory) -> Path:
    """``convnext-dense`` in a new environment that sees the locked packages, but not this clone."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin/python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet",
               "--no-deps", "--no-index", str(wheel)]  # fmt: skip
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Their .pth files, such as the one of this clone's editable installation, do not count there.
    (packages / "locked.pth").write_text(sysconfig.get_paths()["purelib"])
    return folder / "bin/convnext-dense"


def test_the_wheel_holds_the_configs_and_its_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith("METADATA"))
        text = archive.read(metadata).decode()
    inside = {name.partition("convnext_dense/")[2] for name in names if "configs/" in name}
    own = {str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.py")}
    assert own <= inside and not [name for name in names if name.startswith(("tests", "tools"))]
    entries = ("Author", "Project-URL", "Classifier", "License", "License-File", "Requires-Python")
    for entry in entries:
        assert f"\n{entry}: " in text, entry
    body = text.partition("\n\n")[2]
    assert "# " in body and "](docs/" not in body  # links lead to the repository


@pytest.mark.slow
def test_it_trains_tests_and_predicts_in_an_empty_folder(command, data_root, options, tmp_path):
    small = [
        "--data-root",
        str(data_root),
        "--cfg-options",
        *(f"{k}={v}" for k, v in options.items()),
    ]
    run = ["--work-dir", "run with a space"]

    def start(*words: str) -> str:
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [command, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    shown = start("configs", CONFIG)
    assert CONFIG in shown
    start("train", CONFIG, "--max-iters", "2", *run, *small)
    shown = start("test", run[1], *small)  # config and checkpoint of the run
    assert "bbox_mAP" in shown.splitlines()[-1]
    image = next((data_root / "mini/val").glob("*.jpg"))
    start("predict", run[1], run[1], str(image), "--out", "seen")
    assert (tmp_path / "seen/predictions.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {run[1], "seen", "work_dirs"}
