"""From a config file and flags to a checked config and a running mmengine Runner."""

from convnext_dense.engine.config import load_config
from convnext_dense.engine.hooks import LearningRateHook, MetricsFileHook
from convnext_dense.engine.loops import ResumableEpochLoop, ResumableIterLoop
from convnext_dense.engine.progress import ProgressHook
from convnext_dense.engine.runner import DenseRunner, build_runner
from convnext_dense.engine.tta import MultiViewTestLoop

__all__ = [
    "DenseRunner",
    "LearningRateHook",
    "MetricsFileHook",
    "MultiViewTestLoop",
    "ProgressHook",
    "ResumableEpochLoop",
    "ResumableIterLoop",
    "build_runner",
    "load_config",
]
