"""What is said where a graph cannot be opened, and what opened ones leave behind."""

import subprocess
import sys

import numpy as np
import pytest
import torch

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


SIGNAL_AFTER_MODELS = """
import os, signal, sys
import numpy as np
import openvino
from openvino import opset13
from convnext_dense.exported.sessions import open_session

numbers = opset13.parameter([1, 3], np.float32)
openvino.save_model(openvino.Model([opset13.relu(numbers)], [numbers]), sys.argv[1])
first = open_session(sys.argv[1], "openvino", half=False)
second = open_session(sys.argv[1], "openvino", half=False)
del first
del second
signal.signal(signal.SIGINT, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_signal_after_openvino_models_went_in_the_order_they_came(tmp_path):
    """With one Core a model this is a segmentation fault."""
    words = [sys.executable, "-X", "faulthandler", "-c", SIGNAL_AFTER_MODELS, tmp_path / "a.xml"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "handled"), done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_an_input_that_the_graph_does_not_take(target, tmp_path):
    path = tmp_path / "model.onnx"
    torch.onnx.export(torch.nn.Conv2d(3, 4, 3), torch.rand(1, 3, 8, 8), path, verbose=False,
                      input_names=["pixels"], dynamo=False)  # fmt: skip
    session = open_session(path, target, half=False)
    with pytest.raises(UserError, match=r"cannot compute .*pixels \(1, 5, 8, 8\) \(.*export the"):
        session.run({"pixels": np.zeros((1, 5, 8, 8), np.float32)})
