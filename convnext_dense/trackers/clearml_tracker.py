"""ClearML."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
from mmengine.config import Config
from mmengine.registry import VISBACKENDS

from convnext_dense.trackers.tracker import PROJECT, Tracker


@VISBACKENDS.register_module()
class ClearMLTracker(Tracker):
    """A task of ClearML. It patches neither torch, TensorBoard nor argparse, as it would by itself.

    Args:
        save_dir: See :class:`Tracker`.
        init_kwargs: Arguments of ``Task.init``, such as ``project_name``.
    """

    label = "clearml"
    advice = "Run clearml-init, or set CLEARML_OFFLINE_MODE=1."

    def __init__(self, save_dir: str | None = None, init_kwargs: dict | None = None) -> None:
        super().__init__(save_dir, **(init_kwargs or {}))

    def open(self, package: ModuleType, folder: Path, run_id: str | None) -> str:
        """See :meth:`Tracker.open`."""
        defaults = dict(
            project_name=os.environ.get("CLEARML_PROJECT", PROJECT),
            task_name=folder.name,
            reuse_last_task_id=False,
            continue_last_task=run_id or False,
            auto_connect_arg_parser=False,
            auto_connect_frameworks=False,
        )
        self.task = package.Task.init(**{**defaults, **self.settings})
        self.task.set_initial_iteration(0)  # a continued task would add the last one to each
        self.place = self.task.get_output_log_web_page()
        return self.task.id

    def log_config(self, settings: Mapping[str, str], config: Config) -> None:
        """See :meth:`Tracker.log_config`."""
        self.task.connect(dict(settings), name="settings")
        self.task.connect_configuration(config.to_dict(), name="config")

    def log_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """See :meth:`Tracker.log_scalars`."""
        logger = self.task.get_logger()
        for name, value in scalars.items():
            split, _, figure = name.partition("/")
            logger.report_scalar(title=figure or name, series=split, value=value, iteration=step)

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        """See :meth:`Tracker.log_image`."""
        split, _, title = name.partition("/")
        self.task.get_logger().report_image(
            title=title or name, series=split, iteration=step, image=image
        )

    def log_file(self, path: Path) -> None:
        """See :meth:`Tracker.log_file`."""
        self.task.upload_artifact(path.name, str(path))

    def finish(self) -> None:
        """See :meth:`Tracker.finish`."""
        self.task.close()
