"""Weights & Biases."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
from mmengine.config import Config
from mmengine.registry import VISBACKENDS

from convnext_dense.trackers.tracker import PROJECT, Tracker


@VISBACKENDS.register_module()
class WandbTracker(Tracker):
    """A run of W&B, whose steps are the training's iterations.

    Args:
        save_dir: See :class:`Tracker`.
        init_kwargs: Arguments of ``wandb.init``, such as ``project`` and ``entity``.
        define_metric_cfg: Metric -> summary (``{"val/bbox_mAP": "max"}``), or a list of arguments
            of ``define_metric``.
    """

    label = "wandb"
    advice = "Log in with wandb login, or set WANDB_MODE=offline."

    def __init__(
        self,
        save_dir: str | None = None,
        init_kwargs: dict | None = None,
        define_metric_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(save_dir, **(init_kwargs or {}))
        metrics = define_metric_cfg or []
        if isinstance(metrics, Mapping):
            metrics = [dict(name=name, summary=summary) for name, summary in metrics.items()]
        self.metrics = metrics

    def open(self, package: ModuleType, folder: Path, run_id: str | None) -> str:
        """See :meth:`Tracker.open`."""
        defaults = dict(dir=str(folder), name=folder.name, id=run_id, resume="allow")
        if "WANDB_PROJECT" not in os.environ:
            defaults["project"] = PROJECT
        self.package = package
        self.run = package.init(**{**defaults, **self.settings})
        for metric in self.metrics:
            self.run.define_metric(**metric)
        self.place = self.run.url or f"offline, in {self.run.dir} (wandb sync sends it)"
        return self.run.id

    def log_config(self, settings: Mapping[str, str], config: Config) -> None:
        """See :meth:`Tracker.log_config`."""
        self.run.config.update({**config.to_dict(), "summary": settings}, allow_val_change=True)

    def log_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """See :meth:`Tracker.log_scalars`."""
        self._log(scalars, step)

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        """See :meth:`Tracker.log_image`."""
        self._log({name: self.package.Image(image)}, step)

    def _log(self, row: Mapping, step: int) -> None:
        # W&B takes no step twice. A resumed run repeats those after its checkpoint, bit for bit.
        if step >= self.run.step:
            self.run.log(dict(row), step=step)

    def log_file(self, path: Path) -> None:
        """See :meth:`Tracker.log_file`."""
        self.run.save(str(path), base_path=str(path.parent), policy="now")

    def finish(self) -> None:
        """See :meth:`Tracker.finish`."""
        self.run.finish()
