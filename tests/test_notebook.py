"""docs/notebooks: every notebook runs from its first cell to its last."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook, tmp_path, monkeypatch):
    """In an empty folder; a cell that fails, or a command in it, ends the run with its output."""
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"needs {package}: make test-slow installs it")
    import nbclient
    import nbformat

    _put_command_on_path(tmp_path / "bin", monkeypatch)
    folder = tmp_path / "folder"
    folder.mkdir()
    content = nbformat.read(notebook, as_version=4)
    nbformat.validate(content)
    assert not any(cell.get("outputs") for cell in content.cells), "commit it without its outputs"
    nbclient.NotebookClient(
        content, timeout=1200, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()
    drawn = [
        output
        for cell in content.cells
        for output in cell.get("outputs", [])
        if "image/jpeg" in output.get("data", {}) or "image/png" in output.get("data", {})
    ]
    assert len(drawn) == 2  # the samples, and a prediction
    assert (folder / "report.html").stat().st_size > 10_000
    assert (folder / "work_dirs/birds/test/metrics.json").is_file()


def _put_command_on_path(folder: Path, monkeypatch) -> None:
    """The command of this checkout, whichever is installed."""
    folder.mkdir()
    script = folder / "convnext-dense"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m convnext_dense "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
