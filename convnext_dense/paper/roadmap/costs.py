"""Parameters and multiply-adds of the steps from ResNet to ConvNeXt, beside tables 10 and 11.

Costs are counted at 224 x 224 pixels, with the head.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convnext_dense.errors import UserError
from convnext_dense.models.roadmap.network import ConvNeXtRoadmapClassifier
from convnext_dense.models.roadmap.steps import REGIMES, Step, check_name
from convnext_dense.paper.costs.counting import count_classifier, count_parameters, meta_device
from convnext_dense.text_table import format_columns

SIZE = 224
CLASSES = 1000
COLUMNS = ("regime", "index", "step", "params_m", "gflops", "paper_gflops", "paper_accuracy",
           "paper_std", "accuracy", "config")  # fmt: skip


def config_name(regime: str, step: str) -> str:
    """Name of a step's config in ``configs/classification/roadmap``, and of its work folder."""
    index = [known.name for known in REGIMES[regime].steps].index(step)
    return f"{regime}_{index:02}_{step}"


def regimes_named(name: str | None) -> Sequence[str]:
    """Both regimes, or the regime of that name.

    Raises:
        UserError: If the name is unknown; the message has the nearest one.
    """
    return list(REGIMES) if name is None else [check_name(name, REGIMES, "regime")]


def count_steps(regime: str, results: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Counts all steps of a regime.

    Args:
        regime: A name in ``REGIMES``.
        results: Our top-1 in percent for trained steps, by config name.

    Returns:
        A dict for each step with the keys :data:`COLUMNS`. ``accuracy`` is ours, or None.
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
        "params_m": count_parameters(network) / 1e6,
        "gflops": count_classifier(network, SIZE) / 1e9,
        "paper_gflops": step.gflops,
        "paper_accuracy": step.accuracy,
        "paper_std": step.std,
        "accuracy": results.get(config),
        "config": f"classification/roadmap/{config}.py",
    }


def build_on_meta(regime: str, step: str) -> ConvNeXtRoadmapClassifier:
    """Builds a step's classifier on the meta device, in evaluation mode."""
    with meta_device():
        return ConvNeXtRoadmapClassifier(CLASSES, regime, step).eval()


def read_results(path: str | Path | None) -> dict[str, float]:
    """Reads our accuracies from a JSON object of top-1 in percent by config name.

    Raises:
        UserError: If the file is missing or not such an object, or a name is unknown.
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
            f"--results {path} must be a JSON object of top-1 in percent by config name, such as "
            f'{{"{names[1]}": 78.8}}.'
        )
    return {check_name(name, names, "config"): value for name, value in results.items()}


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A text table of one regime's steps: our costs beside the paper's, and the accuracies."""
    regime = REGIMES[rows[0]["regime"]]
    peer, accuracy, gflops = regime.peer
    header = ("", "step", "params M", "GFLOPs", "paper", "top-1 of the paper", "ours")
    cells = [
        (
            str(row["index"]),
            row["step"],
            f"{row['params_m']:.2f}",
            f"{row['gflops']:.3f}",
            f"{row['paper_gflops']:.2f}",
            _format_accuracy(row["paper_accuracy"], row["paper_std"]),
            "-" if row["accuracy"] is None else f"{row['accuracy']:.2f}",
        )
        for row in rows
    ]
    peer_cells = ("", peer, "", "", f"{gflops:.2f}", _format_accuracy(accuracy, None), "-")
    alignment = (">2", "<", ">", ">", ">", ">", ">5")
    table = format_columns([header, *cells, peer_cells], alignment)
    return "\n".join([f"Table {regime.table}: {regime.title}", *table])


def _format_accuracy(accuracy: float, std: float | None) -> str:
    return f"{accuracy:.2f}" + (" " * 8 if std is None else f" +- {std:.2f}")
