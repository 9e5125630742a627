"""The memory of one training step, place by place, as torch's allocators report it.

torch's profiler tells every allocation of a step, on a CPU and on a GPU alike. Marks at the borders
of modules divide the step into places that recur at any size of the images, forwards and
backwards, so that each place can be compared with itself: where a step has its peak depends on the
size, what one place needs grows evenly with it.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.autograd.profiler import profile, record_function

from convnext_dense.models.block import Block

MARK = "convnext_dense.place."
MEMORY = "[memory]"  # torch's name of an allocation; it has negative bytes where memory is freed
NEAR = 3  # levels of the tree of modules that are marked; a backbone has each block besides
DEVICE_TYPES = {"cpu": DeviceType.CPU, "cuda": DeviceType.CUDA}

Place = tuple[str, int]  # a module's name with the direction, and how often it came by before


@dataclass(frozen=True)
class Curve:
    """The memory of a step in bytes, beyond what was in use before it.

    Attributes:
        peaks: The most in use between a place and the next one.
        gradients: Of them, the parameters' gradients that were there when the place began.
    """

    peaks: Mapping[Place, int]
    gradients: Mapping[Place, int]


def record_step(model: nn.Module, step: Callable[[], Any], device: str) -> Curve:
    """Runs a step and records its memory.

    Args:
        model: The model that the step trains.
        step: Runs forwards and backwards, and leaves the gradients.
        device: ``cpu`` or ``cuda``: whose memory is meant.
    """
    marks = _Marks(model)
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # it calls a machine without a GPU an error
    with marks.placed(), profile(use_kineto=True, profile_memory=True) as profiler:
        marks.set("begin")
        step()
    events = profiler.kineto_results.events()
    peaks = peaks_between_marks(events, DEVICE_TYPES[device])
    return Curve(
        dict(zip(marks.places, peaks, strict=True)),
        dict(zip(marks.places, marks.gradients, strict=True)),
    )


def peaks_between_marks(events: Sequence[Any], device: DeviceType) -> list[int]:
    """The most bytes in use after each mark and before the next one; 0 at the first mark."""
    told = [
        (event.start_ns(), 0 if is_mark else event.nbytes(), is_mark)
        for event in events
        if (is_mark := event.name().startswith(MARK))
        or (event.name() == MEMORY and event.device_type() == device)
    ]
    level, peaks = 0, []
    for _, size, is_mark in sorted(told):
        if is_mark:
            peaks.append(level)
        elif peaks:
            level += size
            peaks[-1] = max(peaks[-1], level)
    return peaks


class _Marks:
    """Marks in the profiler's time at the borders of a model's parts."""

    def __init__(self, model: nn.Module) -> None:
        self.places: list[Place] = []
        self.gradients: list[int] = []
        self._model = model
        self._parameters = list(model.parameters())
        self._times: Counter[str] = Counter()

    def set(self, name: str) -> None:
        """Ends the place before and begins one of this name."""
        with record_function(f"{MARK}{name}"):
            self.places.append((name, self._times[name]))
            self._times[name] += 1
            held = (p.grad for p in self._parameters if p.grad is not None)
            self.gradients.append(sum(grad.numel() * grad.element_size() for grad in held))

    @contextmanager
    def placed(self) -> Iterator[None]:
        """Hooks that set the marks; they are gone at the end."""
        handles = []
        for name, module in marked_modules(self._model):
            handles.append(module.register_forward_pre_hook(self._enter(name)))
            handles.append(module.register_forward_hook(self._leave(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, name: str) -> Callable:
        return lambda module, arguments: self.set(f"{name} forward")

    def _leave(self, name: str) -> Callable:
        def leave(module: nn.Module, arguments: Any, outputs: Any) -> None:
            self.set(f"{name} left")
            for output in outputs if isinstance(outputs, list | tuple) else [outputs]:
                if isinstance(output, Tensor) and output.requires_grad:
                    output.register_hook(lambda grad: self.set(f"{name} backward"))

        return leave


def marked_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The blocks of a backbone, and what lies near the root of the model, outside of blocks.

    Layers inside of a block are left alone: with hooks they would be called one by one, and the
    block would not take the path that the run takes.
    """
    blocks = tuple(f"{n}." for n, module in model.named_modules() if isinstance(module, Block))
    for name, module in model.named_modules():
        near = name and name.count(".") < NEAR
        if isinstance(module, Block) or (near and not name.startswith(blocks)):
            yield name, module
