"""How `mmcv._ext` is found, its operators, and the error of missing operators."""

import importlib
import importlib.util
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import convnext_dense
from convnext_dense.ops import install, provider
from convnext_dense.ops.finder import FINDER

ops = pytest.importorskip("mmcv.ops")


@pytest.fixture
def without_mmcv(monkeypatch):
    """Pretends that mmcv has not been imported yet; its modules are restored afterwards."""
    for name in [name for name in sys.modules if name.split(".")[0] == "mmcv"]:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "mmcv"]:
        del sys.modules[name]


def write_mmcv(folder, compiled):
    (folder / "mmcv").mkdir()
    (folder / "mmcv" / "__init__.py").touch()
    if compiled:
        (folder / "mmcv" / "_ext.py").write_text("ORIGIN = 'compiled'\n")
    importlib.invalidate_caches()


def test_installing_twice_adds_one_finder_at_the_end():
    install()
    install()
    assert sys.meta_path.count(FINDER) == 1
    assert FINDER.find_spec("mmcv._extra", None) is None
    assert FINDER.find_spec("mmcv", None) is None


def test_module_has_a_real_spec():
    assert provider() == "torchvision"
    module = sys.modules["mmcv._ext"]
    assert module.__name__ == module.__spec__.name == "mmcv._ext"
    assert Path(module.__spec__.origin).name == "extension.py"
    if hasattr(pkgutil, "find_loader"):  # as mmengine asks; removed in Python 3.14
        assert pkgutil.find_loader("mmcv._ext") is not None


def test_compiled_mmcv_wins(without_mmcv, tmp_path, monkeypatch):
    write_mmcv(tmp_path, compiled=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert provider() == "mmcv"
    assert importlib.import_module("mmcv._ext").ORIGIN == "compiled"
    assert provider() == "mmcv"


def test_mmcv_without_operators_gets_ours(without_mmcv, tmp_path, monkeypatch):
    write_mmcv(tmp_path, compiled=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert provider() == "torchvision"
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if f is not FINDER])
    assert provider() is None


def test_no_mmcv_at_all(without_mmcv, monkeypatch):
    monkeypatch.setitem(sys.modules, "mmcv", None)
    install()
    assert provider() is None
    with pytest.raises(ModuleNotFoundError, match="mmcv"):
        importlib.import_module("mmcv._ext")


def test_environment_report_says_not_compiled():
    assert ops.get_compiler_version().startswith("not compiled (operators of torchvision 0.")
    assert ops.get_compiling_cuda_version() == "not compiled"


def test_unsupported_operator_says_how_to_get_it():
    """The active rotated filter is left out by name (see extension.py)."""
    filters, indices = torch.zeros(1, 1, 1, 3, 3), torch.zeros(1, 3, 3, 4, dtype=torch.uint8)
    with pytest.raises(NotImplementedError) as error:
        ops.active_rotated_filter(filters, indices)
    sentence = str(error.value)
    assert "'active_rotated_filter_forward'" in sentence
    assert "pip uninstall mmcv-lite && pip install mmcv==2.1.0" in sentence
    assert "\n" not in sentence


def test_unknown_names_stay_unknown():
    module = sys.modules["mmcv._ext"]
    assert hasattr(module, "ball_query_forward")
    for name in ("roi_allign_forward", "__path__", "_private", "Path2"):
        assert not hasattr(module, name), name


def test_every_name_mmcv_asks_for_exists():
    module = sys.modules["mmcv._ext"]
    assert len(module.requested_names()) > 100
    assert set(module.__all__) <= module.requested_names()
    assert all(callable(getattr(module, name)) for name in module.requested_names())


@pytest.mark.slow
def test_detection_and_segmentation_libraries_import():
    """In a new process: nothing may have been imported before `install()`."""
    for library in ("mmdet", "mmseg"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    script = (
        "import convnext_dense.ops; convnext_dense.ops.install(); "
        "import mmdet.models, mmseg.models, mmcv.ops; print(convnext_dense.ops.provider())"
    )
    path = os.pathsep.join([str(Path(convnext_dense.__file__).parents[1]), *sys.path])
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split()[-1] == "torchvision"
