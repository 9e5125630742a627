"""What all trackers share: one run for a work folder, failures that no training dies of.

mmengine's own backends are not taken. They log figures of an evaluation at the epoch's number and
losses at the iteration's, begin another run at every resume, upload all Python files of the current
folder (W&B), patch torch and argparse (ClearML), stop at a resumed run's changed parameters
(MLflow), and an exception of any of them ends the training.
"""

import json
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.visualization import BaseVisBackend

from convnext_dense.atomic_files import write_atomically
from convnext_dense.errors import UserError
from convnext_dense.runs.run_summary import configuration
from convnext_dense.runs.saved_files import read_json
from convnext_dense.runs.saved_runs import Training
from convnext_dense.trackers.packages import import_package

PROJECT = "convnext_dense"  # where neither the config nor the package's own variable names one
RUNS = "trackers.json"  # in the work folder: which run of each tracker is this folder's
FIRST_PAUSE_S, LONGEST_PAUSE_S = 60.0, 1800.0


class Tracker(BaseVisBackend):
    """A run in a tracker, opened with the config by the first process before its first step.

    Whatever fails afterwards is said once; the tracker is left alone for a minute, then for twice
    as long each time, at most for half an hour. What it missed is in the work folder's log.

    Args:
        save_dir: mmengine's folder of logs; not used, since it changes with every resume.
        settings: Arguments of the tracker's own function that opens a run.

    Attributes:
        iteration: Where figures of an evaluation are put; :class:`TrackerHook` keeps it.
        place: Where the run can be looked at, once it is open.
    """

    label = ""  # as in --log
    advice = ""  # how to mend a run that cannot be opened

    def __init__(self, save_dir: str | None = None, **settings: Any) -> None:
        super().__init__(save_dir)
        self.settings = settings
        self.iteration = 0
        self.place = ""
        self.is_open = False
        self._asleep_until, self._pause, self._missed = -math.inf, FIRST_PAUSE_S, 0

    # What each tracker does in its own way

    @abstractmethod
    def open(self, package: ModuleType, folder: Path, run_id: str | None) -> str:
        """Opens a run, or the one with that id again; returns its id and sets :attr:`place`."""

    @abstractmethod
    def log_config(self, settings: Mapping[str, str], config: Config) -> None:
        """Records the main settings as a report shows them, and the whole config."""

    @abstractmethod
    def log_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """Records numbers at an iteration."""

    @abstractmethod
    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        """Records an image, RGB (height, width, 3) uint8, at an iteration."""

    @abstractmethod
    def log_file(self, path: Path) -> None:
        """Keeps a copy of a small file of the work folder."""

    @abstractmethod
    def finish(self) -> None:
        """Ends the run as one that is complete."""

    # What mmengine's visualizer calls, in the first process only

    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Opens the run and records the config.

        Raises:
            UserError: When the package is missing or refuses.
        """
        folder = Path(config.work_dir)
        package = import_package(type(self).__name__)
        known = read_json(folder / RUNS, [])
        try:
            run_id = self.open(package, folder, known.get(self.label))
        except Exception as error:  # each package has its own
            raise UserError(
                f"--log {self.label}: no run can be opened ({_reason(error)}). {self.advice} Or "
                "leave the tracker out."
            ) from error
        self.is_open = True
        write_atomically(folder / RUNS, json.dumps({**known, self.label: run_id}, indent=2))
        print_log(f"{self.label}: {self.place}", logger="current")
        content = config.to_dict()
        self._send(self.log_config, dict(configuration(Training(folder, config=content))), config)

    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path=None, **kwargs: Any) -> None:
        """Records a row of mmengine's log under ``train/`` or, at the iteration, ``val/``."""
        if "iter" in scalar_dict:
            self.add_figures("train", scalar_dict, step)
        else:
            self.add_figures("val", scalar_dict, self.iteration)

    def add_figures(self, split: str, figures: Mapping[str, Any], step: int) -> None:
        """Records the finite numbers of a row; ``coco/bbox_mAP`` is ``val/bbox_mAP``."""
        scalars = {
            f"{split}/{name.split('/', 1)[-1]}": number
            for name, value in figures.items()
            if name not in ("iter", "step") and (number := _finite(value)) is not None
        }
        if scalars:
            self._send(self.log_scalars, scalars, step)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Records a number under its own name."""
        if (number := _finite(value)) is not None:
            self._send(self.log_scalars, {name: number}, step)

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Records an image, RGB."""
        self._send(self.log_image, name, np.ascontiguousarray(image, np.uint8), step)

    def add_file(self, path: Path) -> None:
        """Keeps a copy of a file, if it is there."""
        if path.is_file():
            self._send(self.log_file, path)

    def close(self) -> None:
        """Ends the run; mmengine calls this when a training or a test is complete."""
        if self.is_open:
            self._asleep_until = -math.inf  # the last chance
            self._send(self.finish)
            self.is_open = False

    @property
    def experiment(self) -> "Tracker":
        """Itself."""
        return self

    def _init_env(self) -> None:
        """Nothing: a run is opened with the config."""

    def _send(self, call: Callable, *arguments: Any) -> None:
        """Calls the tracker; a failure is a line in the log, and a pause."""
        if not self.is_open:
            return
        if time.monotonic() < self._asleep_until:
            self._missed += 1
            return
        try:
            call(*arguments)
        except Exception as error:  # whatever it is, the training goes on
            self._sleep(error)
        else:
            if self._missed:
                print_log(
                    f"{self.label} takes the log again; {self._missed} entries are missing there.",
                    logger="current",
                )
            self._pause, self._missed = FIRST_PAUSE_S, 0

    def _sleep(self, error: Exception) -> None:
        if not self._missed:
            print_log(
                f"{self.label} fails ({_reason(error)}). The run goes on without it, and tries "
                f"again after {self._pause:.0f} s; the work folder's own log has everything.",
                logger="current",
                level=30,
            )
        self._missed += 1
        self._asleep_until = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)


def _finite(value: Any) -> float | None:
    """A number; None for what is none, or not finite: the work folder's log has it."""
    value = value.item() if hasattr(value, "item") and getattr(value, "size", 1) != 0 else value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
