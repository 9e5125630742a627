"""Measures one training step and a short evaluation: losses, time, memory, figures."""

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.hooks import Hook

from convnext_dense.engine.finite_checks import last_step_was_taken
from convnext_dense.engine.runner import DenseRunner
from convnext_dense.engine.sharding import plain_model
from convnext_dense.preflight.start_check import optimizer_bytes


@dataclass
class StepMeasurements:
    """The figures of a trial.

    Attributes:
        losses: Of the training step, by name.
        taken: Whether losses and gradients were finite, so that the step was taken.
        seconds: Of the training step.
        batch: Its images.
        before, peak: Bytes in use before the step and at most within it; None where the system
            does not tell.
        metrics: Of the evaluation.
        evaluated: Its images.
    """

    batch: int
    losses: dict[str, float] = field(default_factory=dict)
    taken: bool = True
    seconds: float = 0.0
    before: int | None = None
    peak: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    evaluated: int = 0


class StepProbe(Hook):
    """Measures the steps of a runner."""

    priority = "HIGHEST"  # before MeanLossHook takes the losses away

    def __init__(self, measured: StepMeasurements) -> None:
        self.measured = measured

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Starts the measurement."""
        self.measured.before = reset_peak()
        self.measured.seconds = -time.perf_counter()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Ends it."""
        self.measured.losses = {
            name: float(torch.as_tensor(v).detach()) for name, v in outputs.items()
        }
        self.measured.taken = last_step_was_taken(runner)
        self.measured.seconds += time.perf_counter()
        self.measured.peak = peak_bytes()

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Keeps the figures."""
        self.measured.metrics = dict(metrics or {})
        self.measured.evaluated = len(runner.val_dataloader.dataset)


def memory_parts(
    runner: DenseRunner, measured: StepMeasurements, batch: int
) -> dict[str, int | None]:
    """Bytes of a run's step: weights, gradients, optimizer state, and the measured activations.

    Args:
        runner: After its step.
        measured: The figures of the trial.
        batch: Images of the run's batch in this process; activations grow with it.
    """
    model = plain_model(runner)
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    gradients = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    parts = dict(weights=weights, gradients=gradients, optimizer=optimizer_bytes(runner.cfg, model))
    activations = None
    if measured.before is not None and measured.peak is not None:
        grown = max(0, measured.peak - measured.before - gradients)
        activations = round(grown * batch / measured.batch)
    return dict(parts, activations=activations)


def reset_peak() -> int | None:
    """Forgets the peak so far; returns the bytes in use now, on the GPU or of this process."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return _resident("VmRSS")
    return None


def peak_bytes() -> int | None:
    """The most bytes in use since :func:`reset_peak`; None where the system does not tell."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    with contextlib.suppress(OSError):
        return _resident("VmHWM")
    return None


def resident_bytes() -> int | None:
    """The bytes of memory that this process has now; None where the system does not tell."""
    with contextlib.suppress(OSError):
        return _resident("VmRSS")
    return None


def _resident(name: str) -> int | None:
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(sizes[0]) * 1024 if sizes else None
