"""What the steps from ResNet to ConvNeXt cost, beside the paper's tables 10 and 11.

Multiply-adds are those of convolutions and linear layers at 224 x 224, the head included; pooling,
norms and activations are not counted. Networks are built on the meta device: shapes without
numbers.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from convnext_dense.errors import UserError
from convnext_dense.models.roadmap.network import ConvNeXtRoadmapClassifier
from convnext_dense.models.roadmap.steps import REGIMES, Step, check_name

SIZE = 224
CLASSES = 1000
FREE = (nn.BatchNorm2d, nn.LayerNorm, nn.ReLU, nn.GELU)
FILLING = ("kaiming_uniform_", "uniform_", "normal_", "erfinv_", "clamp_", "mul_", "add_", "fill_",
           "zero_")  # fmt: skip
COLUMNS = ("regime", "index", "step", "params_m", "gflops", "paper_gflops", "paper_accuracy",
           "paper_std", "accuracy", "config")  # fmt: skip


class WithoutNumbers(TorchFunctionMode):
    """Leaves initial values out: on the meta device they cost time and are nothing."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in FILLING:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def config_name(regime: str, step: str) -> str:
    """Name of a step's config in ``configs/classification/roadmap``, and of its work folder."""
    index = [one.name for one in REGIMES[regime].steps].index(step)
    return f"{regime}_{index:02}_{step}"


def regimes_named(name: str | None) -> Sequence[str]:
    """Both regimes, or the one that is named.

    Raises:
        UserError: Where there is none of that name, with the nearest.
    """
    return list(REGIMES) if name is None else [check_name(name, REGIMES, "regime")]


def measure(regime: str, results: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Counts all steps of a regime.

    Args:
        regime: A name in ``REGIMES``.
        results: Our own top-1 in percent, by the config's name, where a step was trained.

    Returns:
        A dict a step with the keys :data:`COLUMNS`; ``accuracy`` is ours, None where not trained.
    """
    return [
        _row(regime, index, step, results or {}) for index, step in enumerate(REGIMES[regime].steps)
    ]


def _row(regime: str, index: int, step: Step, results: Mapping[str, float]) -> dict[str, Any]:
    network = build_on_meta(regime, step.name)
    config = config_name(regime, step.name)
    return {
        "regime": regime,
        "index": index,
        "step": step.name,
        "params_m": sum(p.numel() for p in network.parameters()) / 1e6,
        "gflops": count_multiply_adds(network) / 1e9,
        "paper_gflops": step.gflops,
        "paper_accuracy": step.accuracy,
        "paper_std": step.std,
        "accuracy": results.get(config),
        "config": f"classification/roadmap/{config}.py",
    }


def build_on_meta(regime: str, step: str) -> ConvNeXtRoadmapClassifier:
    """Builds a step's classifier, in evaluation mode, without memory for its parameters."""
    with torch.device("meta"), WithoutNumbers():
        return ConvNeXtRoadmapClassifier(CLASSES, regime, step).eval()


def count_multiply_adds(network: nn.Module) -> int:
    """Multiply-adds of one picture through a network on meta; it is not usable afterwards."""
    counts = []

    def count(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        # Each output is a product of as many terms as one filter has weights.
        counts.append(output.numel() * layer.weight[0].numel())

    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, FREE):
                setattr(parent, name, nn.Identity())
            elif isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.empty(1, 3, SIZE, SIZE, device="meta"))
    return sum(counts)


def read_results(path: str | Path | None) -> dict[str, float]:
    """Our own accuracies: a JSON object of top-1 in percent by the config's name.

    Raises:
        UserError: When the file is missing or no such object, or a name is no step's.
    """
    if path is None:
        return {}
    try:
        results = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"--results {path} cannot be read: {error}.") from error
    names = [config_name(regime, step.name) for regime in REGIMES for step in REGIMES[regime].steps]
    if not isinstance(results, dict) or not all(
        isinstance(value, int | float) and 0 <= value <= 100 for value in results.values()
    ):
        raise UserError(
            f"--results {path} must be an object of top-1 in percent by a config's name, such as "
            f'{{"{names[1]}": 78.8}}.'
        )
    return {check_name(name, names, "config"): value for name, value in results.items()}


def format_table(found: Sequence[Mapping[str, Any]]) -> str:
    """One regime's steps, a line each: our count beside the paper's, and the accuracies."""
    regime = REGIMES[found[0]["regime"]]
    width = max(len(row["step"]) for row in found)
    lines = [
        f"Table {regime.table}: {regime.title}",
        f"    {'step':{width}}  params M  GFLOPs  paper  top-1 of the paper   ours",
    ]
    for row in found:
        std = "" if row["paper_std"] is None else f" +- {row['paper_std']:.2f}"
        ours = "-" if row["accuracy"] is None else f"{row['accuracy']:.2f}"
        lines.append(
            f"{row['index']:2}  {row['step']:{width}}  {row['params_m']:8.2f}  "
            f"{row['gflops']:6.3f}  {row['paper_gflops']:5.2f}  "
            f"{row['paper_accuracy']:10.2f}{std:8}  {ours:>5}"
        )
    peer, accuracy, gflops = regime.peer
    lines.append(
        f"    {peer:{width}}  {'':8}  {'':6}  {gflops:5.2f}  {accuracy:10.2f}{'':8}  {'-':>5}"
    )
    return "\n".join(lines)
