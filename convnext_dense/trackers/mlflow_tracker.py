"""MLflow: a server, a database, or a folder of files."""

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import VISBACKENDS

from convnext_dense.trackers.tracker import PROJECT, Tracker

# MLflow's own defaults would stop the training for minutes at each line that a server does not take
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}


@VISBACKENDS.register_module()
class MLflowTracker(Tracker):
    """A run of MLflow. Names are those of mmengine's ``MLflowVisBackend``.

    Args:
        save_dir: See :class:`Tracker`.
        exp_name: Experiment; by default ``MLFLOW_EXPERIMENT_NAME``, then ``convnext_dense``.
        run_name: By default the work folder's name.
        tags: Of the run.
        params: Beside the config's.
        tracking_uri: By default ``MLFLOW_TRACKING_URI``, then MLflow's own default.
        artifact_location: Of an experiment that is new.
    """

    label = "mlflow"
    advice = "Set MLFLOW_TRACKING_URI to a server (http://HOST:5000) or a folder (file:mlruns)."

    def __init__(
        self,
        save_dir: str | None = None,
        exp_name: str | None = None,
        run_name: str | None = None,
        tags: dict[str, str] | None = None,
        params: dict[str, Any] | None = None,
        tracking_uri: str | None = None,
        artifact_location: str | None = None,
    ) -> None:
        super().__init__(save_dir)
        self.exp_name, self.run_name, self.tags = exp_name, run_name, tags
        self.params, self.uri, self.artifacts = params or {}, tracking_uri, artifact_location

    def open(self, package: ModuleType, folder: Path, run_id: str | None) -> str:
        """See :meth:`Tracker.open`."""
        for variable, value in PATIENCE.items():
            os.environ.setdefault(variable, value)
        uri = self.uri or os.environ.get("MLFLOW_TRACKING_URI")
        if uri and "://" not in uri.removeprefix("file:"):  # named: MLflow 3 asks once more
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self.entities = package.entities
        self.client = package.MlflowClient(tracking_uri=uri)
        name = self.exp_name or os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        if run_id is None:
            found = self.client.get_experiment_by_name(name)
            experiment = (
                found.experiment_id
                if found
                else self.client.create_experiment(name, artifact_location=self.artifacts)
            )
            run_name = self.run_name or folder.name
            run = self.client.create_run(experiment, run_name=run_name, tags=self.tags)
            run_id = run.info.run_id
        else:
            self.client.update_run(run_id, status="RUNNING")
        self.run_id = run_id
        self.place = f"run {run_id} of the experiment {name!r}"
        return run_id

    def log_config(self, settings: Mapping[str, str], config: Config) -> None:
        """See :meth:`Tracker.log_config`. A parameter that a resumed run changes keeps its value.

        MLflow takes no other value for it; the text of the config has the new one.
        """
        old = self.client.get_run(self.run_id).data.params
        new = {_name(key): str(value) for key, value in {**settings, **self.params}.items()}
        params = [self.entities.Param(key, new[key]) for key in new if key not in old]
        self.client.log_batch(self.run_id, params=params[:100])  # a request takes no more
        self.client.log_text(self.run_id, config.pretty_text, "config.py")

    def log_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """See :meth:`Tracker.log_scalars`."""
        now = int(time.time() * 1000)
        metrics = [self.entities.Metric(_name(k), v, now, step) for k, v in scalars.items()]
        self.client.log_batch(self.run_id, metrics=metrics)

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        """See :meth:`Tracker.log_image`."""
        self.client.log_image(self.run_id, image, key=_name(name), step=step, synchronous=True)

    def log_file(self, path: Path) -> None:
        """See :meth:`Tracker.log_file`."""
        self.client.log_artifact(self.run_id, str(path))

    def finish(self) -> None:
        """See :meth:`Tracker.finish`."""
        self.client.set_terminated(self.run_id)


def _name(text: str) -> str:
    """A name of letters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", text, flags=re.ASCII)
