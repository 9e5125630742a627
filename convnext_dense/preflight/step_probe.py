"""What one training step and a short evaluation show: losses, time, memory, figures."""

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.hooks import Hook

from convnext_dense.engine.finite_checks import step_was_taken
from convnext_dense.engine.runner import DenseRunner
from convnext_dense.preflight.start_check import optimizer_bytes, plain_model


@dataclass
class Facts:
    """What the steps showed.

    Attributes:
        losses: Of the training step, by name.
        taken: Whether losses and gradients were finite, so that the step was taken.
        seconds: Of the training step.
        batch: Its pictures.
        before, peak: Bytes in use before the step and at most within it; None where the system
            does not tell.
        metrics: Of the evaluation.
        evaluated: Its pictures.
    """

    batch: int
    losses: dict[str, float] = field(default_factory=dict)
    taken: bool = True
    seconds: float = 0.0
    before: int | None = None
    peak: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    evaluated: int = 0


class Watch(Hook):
    """Fills in the facts."""

    priority = "HIGHEST"  # before MeanLossHook takes the losses away

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Starts the measurement."""
        self.facts.before = reset_peak()
        self.facts.seconds = -time.perf_counter()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Ends it."""
        self.facts.losses = {
            name: float(torch.as_tensor(v).detach()) for name, v in outputs.items()
        }
        self.facts.taken = step_was_taken(runner)
        self.facts.seconds += time.perf_counter()
        self.facts.peak = peak_bytes()

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Keeps the figures."""
        self.facts.metrics = dict(metrics or {})
        self.facts.evaluated = len(runner.val_dataloader.dataset)


def memory(runner: DenseRunner, facts: Facts, batch: int) -> dict[str, int | None]:
    """Bytes of the run's step: what is counted, and what the step took beside it.

    Args:
        runner: After its step.
        facts: What the step showed.
        batch: Pictures of the run's batch in this process; activations grow with it.
    """
    model = plain_model(runner)
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    gradients = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    found = dict(weights=weights, gradients=gradients, optimizer=optimizer_bytes(runner.cfg, model))
    activations = None
    if facts.before is not None and facts.peak is not None:
        grown = max(0, facts.peak - facts.before - gradients)
        activations = round(grown * batch / facts.batch)
    return dict(found, activations=activations)


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


def _resident(name: str) -> int | None:
    lines = Path("/proc/self/status").read_text().splitlines()
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else None
