"""A graph in its runtime: named arrays in, named arrays out."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from convnext_dense.errors import UserError

Arrays = Mapping[str, np.ndarray]


class Session(ABC):
    """A graph that can be run.

    Attributes:
        name: Of the runtime and its device, for messages.
    """

    name: str

    @abstractmethod
    def compute(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs by name."""

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs by name.

        Raises:
            UserError: For an input that the graph does not take, and for a damaged graph.
        """
        try:
            return self.compute(inputs)
        except UserError:
            raise
        except Exception as error:  # the runtimes have no class in common
            sizes = ", ".join(f"{key} {value.shape}" for key, value in inputs.items())
            raise UserError(
                f"{self.name} cannot compute this model with {sizes} ({_reason(error)}). Where an "
                "image is small or thin, take a larger one; else export the model again."
            ) from error


class OnnxRuntimeSession(Session):
    """A graph in onnxruntime."""

    def __init__(self, path: Path, device: str | None, threads: int | None) -> None:
        runtime = _runtime("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        provider = _provider(runtime, device or "cpu")
        self.name = f"onnxruntime {runtime.__version__}, {provider.removesuffix('Provider')}"
        self.session = runtime.InferenceSession(str(path), options, providers=[provider])
        self.outputs = [output.name for output in self.session.get_outputs()]

    def compute(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs by name."""
        found = self.session.run(None, dict(inputs))
        return dict(zip(self.outputs, found, strict=True))


class OpenVinoSession(Session):
    """A graph in OpenVINO."""

    def __init__(self, path: Path, device: str | None, threads: int | None, half: bool) -> None:
        runtime = _runtime("openvino", "openvino")
        core = openvino_core()
        device = (device or "cpu").upper()
        if not any(device.split(":")[0] in known for known in core.available_devices):
            raise UserError(
                f"OpenVINO has no device {device} here: {', '.join(core.available_devices)}."
            )
        # Without this, processors that have bfloat16 use it, and results differ from torch's.
        options = {} if half else {"INFERENCE_PRECISION_HINT": "f32"}
        options |= {"PERFORMANCE_HINT": "LATENCY"}
        if threads and device == "CPU":
            options["INFERENCE_NUM_THREADS"] = threads
        self.name = f"openvino {runtime.__version__.split('-')[0]}, {device}"
        self.model = core.compile_model(str(path), device, options)

    def compute(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs by name."""
        arrays = {}
        for output, value in self.model(dict(inputs)).items():
            # Optimisation can leave an output several names, among them the exported one.
            arrays |= dict.fromkeys(output.names, np.array(value))
        return arrays


@cache
def openvino_core() -> Any:
    """OpenVINO's ``Core``, one for the whole process.

    Each Core moves the stack that Python's signal handlers run on into memory of its own. Where
    an older Core ends before a younger one, that stack becomes memory that is gone, and the next
    signal (Ctrl-C, the end of a data loader's worker) ends the process with SIGSEGV.
    """
    return _runtime("openvino", "openvino").Core()


def open_session(path: Path, target: str, half: bool, device: str | None = None) -> Session:
    """Opens a graph.

    Args:
        path: File of the graph.
        target: ``onnx``, ``openvino`` or ``torch-export``.
        half: Compute with 16 bits where the processor can.
        device: Of the runtime; by default the CPU.

    Raises:
        UserError: Where the runtime is not installed, or has no such device.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or 0) or None
    try:
        if target == "openvino":
            return OpenVinoSession(path, device, threads, half)
        if target == "torch-export":
            # By name: that room imports this one, and torch.
            return import_module("convnext_dense.export.torch_session").open_program(path, device)
        return OnnxRuntimeSession(path, device, threads)
    except UserError:
        raise
    except Exception as error:  # the runtimes have no class in common
        raise UserError(
            f"{path} cannot be opened ({_reason(error)}): export the model again."
        ) from error


def _reason(error: Exception) -> str:
    """The last line of a runtime's message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1][:200]


def _provider(runtime: ModuleType, device: str) -> str:
    """onnxruntime's provider for a device."""
    wanted = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
    if device not in ("cpu", "cuda", "cuda:0") or wanted not in runtime.get_available_providers():
        raise UserError(
            f"onnxruntime has no device {device!r} here: leave it out for the CPU; for an NVIDIA "
            "GPU: pip install onnxruntime-gpu."
        )
    return wanted


def _runtime(package: str, extra: str) -> ModuleType:
    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(
            f"This exported model runs on {package}, which is not installed: pip install "
            f"'convnext_dense[{extra}]'."
        ) from error
