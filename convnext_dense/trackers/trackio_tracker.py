"""trackio: on this machine, or in a Space of Hugging Face."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
from mmengine.config import Config
from mmengine.registry import VISBACKENDS

from convnext_dense.trackers.tracker import PROJECT, Tracker


@VISBACKENDS.register_module()
class TrackioTracker(Tracker):
    """A run of trackio.

    Args:
        save_dir: See :class:`Tracker`.
        init_kwargs: Arguments of ``trackio.init``, such as ``project`` and ``space_id``.
    """

    label = "trackio"
    advice = "Its folder is TRACKIO_DIR; a Space needs hf auth login."

    def __init__(self, save_dir: str | None = None, init_kwargs: dict | None = None) -> None:
        super().__init__(save_dir, **(init_kwargs or {}))

    def open(self, package: ModuleType, folder: Path, run_id: str | None) -> str:
        """See :meth:`Tracker.open`. Runs of trackio are found by their names."""
        defaults = dict(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=run_id or f"{folder.name}-{os.urandom(3).hex()}",
            resume="allow" if run_id else "never",
            embed=False,
        )
        arguments = {**defaults, **self.settings}
        self.package = package
        self.run = package.init(**arguments)
        self.place = f"run {self.run.name!r} (trackio show --project {arguments['project']})"
        return self.run.name

    def log_config(self, settings: Mapping[str, str], config: Config) -> None:
        """See :meth:`Tracker.log_config`."""
        self.run.config.update(settings)

    def log_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """See :meth:`Tracker.log_scalars`."""
        self.run.log(dict(scalars), step=step)

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        """See :meth:`Tracker.log_image`."""
        self.run.log({name: self.package.Image(image)}, step=step)

    def log_file(self, path: Path) -> None:
        """See :meth:`Tracker.log_file`."""
        name = f"{self.run.name}-{path.stem}"  # the names of a project's files are one list
        self.package.log_artifact(str(path), name=name, type="file")

    def finish(self) -> None:
        """See :meth:`Tracker.finish`."""
        self.package.finish()  # the run's own function would be called again when Python ends
