"""What is said where a graph cannot be opened."""

import sys

import pytest

from convnext_dense.errors import UserError
from convnext_dense.exported.sessions import open_session

TARGETS = {"onnx": "onnxruntime", "openvino": "openvino"}


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph at all")
    return path


@pytest.mark.parametrize("target", TARGETS)
def test_a_missing_runtime_is_named_with_its_extra(target, graph, monkeypatch):
    monkeypatch.setitem(sys.modules, TARGETS[target], None)
    sentence = (
        rf"runs on {TARGETS[target]}, which is not installed: pip install "
        rf"'convnext_dense\[{target}\]'"
    )
    with pytest.raises(UserError, match=sentence):
        open_session(graph, target, half=False)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("device", ["npu", "cuda:7"])
def test_a_device_that_is_not_here(target, device, graph):
    with pytest.raises(UserError, match=f"(?i)has no device .?{device}"):
        open_session(graph, target, half=False, device=device)


@pytest.mark.parametrize("target", [*TARGETS, "torch-export"])
def test_a_damaged_graph(target, graph):
    with pytest.raises(UserError, match=r"model\.onnx cannot be opened \(.*\): export .* again"):
        open_session(graph, target, half=False)


def test_a_damaged_graph_is_a_sentence_of_one_line(graph):
    with pytest.raises(UserError) as caught:
        open_session(graph, "onnx", half=False)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
