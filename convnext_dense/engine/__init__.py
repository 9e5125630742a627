"""One step of a run and the loop around it: importing this package registers runner and hooks."""

from convnext_dense.data.fit import load_fitted_config as load_config  # its name before the rooms
from convnext_dense.engine.accumulation import PartialStepHook
from convnext_dense.engine.finite_checks import FiniteChecksHook
from convnext_dense.engine.hooks import LearningRateHook, MeanLossHook, MetricsFileHook
from convnext_dense.engine.loops import ResumableEpochLoop, ResumableIterLoop
from convnext_dense.engine.multi_view_test import MultiViewTestLoop
from convnext_dense.engine.random_state import RandomStateHook
from convnext_dense.engine.resuming.adapters import AdapterStateHook
from convnext_dense.engine.runner import DenseRunner, build_runner
from convnext_dense.engine.sharding import ShardedStateHook
from convnext_dense.engine.weight_averaging import (
    BothWeightsTestLoop,
    BothWeightsValLoop,
    WeightAverageHook,
)
from convnext_dense.runs.checkpointing import WholeCheckpointHook
from convnext_dense.runs.early_stop import EarlyStopHook
from convnext_dense.runs.json_log import JsonVisBackend
from convnext_dense.runs.progress import ProgressHook
from convnext_dense.runs.signals import InterruptHook
from convnext_dense.trackers import TrackerHook

__all__ = [
    "AdapterStateHook",
    "BothWeightsTestLoop",
    "BothWeightsValLoop",
    "DenseRunner",
    "EarlyStopHook",
    "InterruptHook",
    "LearningRateHook",
    "JsonVisBackend",
    "MeanLossHook",
    "MetricsFileHook",
    "MultiViewTestLoop",
    "FiniteChecksHook",
    "PartialStepHook",
    "ProgressHook",
    "RandomStateHook",
    "ResumableEpochLoop",
    "ResumableIterLoop",
    "ShardedStateHook",
    "TrackerHook",
    "WeightAverageHook",
    "WholeCheckpointHook",
    "build_runner",
    "load_config",
]
