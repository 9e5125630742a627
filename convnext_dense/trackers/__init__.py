"""Where people keep their runs: W&B, MLflow, ClearML, trackio, beside TensorBoard and JSON."""

from convnext_dense.trackers.clearml_tracker import ClearMLTracker
from convnext_dense.trackers.hook import TrackerHook
from convnext_dense.trackers.mlflow_tracker import MLflowTracker
from convnext_dense.trackers.tracker import Tracker
from convnext_dense.trackers.trackio_tracker import TrackioTracker
from convnext_dense.trackers.wandb_tracker import WandbTracker

__all__ = [
    "ClearMLTracker",
    "MLflowTracker",
    "Tracker",
    "TrackerHook",
    "TrackioTracker",
    "WandbTracker",
]
