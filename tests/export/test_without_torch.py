"""Exported models predict without torch: it is not imported, and need not be installed."""

import json
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import files, packages_distributions
from pathlib import Path

import cv2
import numpy as np
import pytest

from convnext_dense.export.parity.pictures import drawn_pictures

ROOT = Path(__file__).parents[2]
WORK = Path(__file__).with_name("work_alone.py")
HEAVY = {"torch", "torchvision", "mmengine", "mmcv", "mmdet", "mmseg", "timm", "onnx", "onnxscript",
         "pycocotools", "scipy"}  # fmt: skip
# The runtime, and what its distribution says it needs.
NEEDED = {
    "onnxruntime": ("onnxruntime", "flatbuffers", "packaging", "protobuf"),
    "openvino": ("openvino", "openvino-telemetry"),
}


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("images") / "a.png"
    cv2.imwrite(str(path), drawn_pictures(3, 1).images[0][..., ::-1])
    return path


def work(python: str | Path, folder: Path, image: Path, path: Path) -> dict:
    """What the work found in a process of this Python."""
    words = [str(python), str(WORK), str(folder), str(image)]
    environment = {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def check(found: dict, detector, runtime: str, image: Path) -> None:
    expected = detector.runtimes[runtime](str(image), threshold=0)
    assert len(expected) > 3
    np.testing.assert_allclose(found["boxes"], expected.boxes, atol=1e-3)
    np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-5)
    assert found["tiled"] > 0


@pytest.mark.parametrize("runtime", NEEDED)
def test_torch_is_not_imported_where_it_is_installed(detector, runtime, image):
    folder = Path(detector.runtimes[runtime].source)
    found = work(sys.executable, folder, image, ROOT)
    assert not HEAVY & set(found["imported"]) and runtime in found["imported"]
    check(found, detector, runtime, image)


@pytest.mark.parametrize("runtime", NEEDED)
def test_nothing_but_numpy_opencv_and_the_runtime_is_installed(detector, runtime, image, tmp_path):
    venv.create(tmp_path / "alone", with_pip=False, symlinks=True)
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "convnext_dense").symlink_to(ROOT / "convnext_dense")
    for name in ("numpy", packages_distributions()["cv2"][0], *NEEDED[runtime]):
        link(name, packages)
    python = tmp_path / "alone/bin/python"
    look = f"import importlib.util as u; print([n for n in {sorted(HEAVY)} if u.find_spec(n)])"
    words = [str(python), "-c", look]
    there = subprocess.run(words, env={"PYTHONPATH": str(packages)}, capture_output=True, text=True)
    assert there.stdout.strip() == "[]", there
    folder = Path(detector.runtimes[runtime].source)
    check(work(python, folder, image, packages), detector, runtime, image)


def link(distribution: str, packages: Path) -> None:
    """Puts the top-level folders and modules of an installed distribution into a folder."""
    site = Path(sysconfig.get_paths()["purelib"])
    for name in {path.parts[0] for path in files(distribution) or ()}:
        place = next((one for one in map(Path, sys.path) if (one / name).exists()), site) / name
        if name != ".." and not (packages / name).exists() and place.exists():
            (packages / name).symlink_to(place)
