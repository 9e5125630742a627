"""Testing in several views of every image, whatever the task: ``tools/test.py --tta``.

The config's ``tta_views`` names, by ``type``, a class registered in mmengine's ``TASK_UTILS`` that
makes the views and predicts (``predict``, ``predict_single_scale``, ``facts``). Beside the entries
of the config it is given ``resize``, the step it replaces in the test pipeline. Tiles are views
too (``inference/trained/tiled_views.py``).
"""

import time
from collections.abc import Callable

import torch
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.registry import LOOPS, TASK_UTILS
from mmengine.runner import TestLoop
from mmengine.runner.amp import autocast
from torch.utils.data import DataLoader

from convnext_dense.config.config_tree import datasets
from convnext_dense.data.images import explaining_opencv
from convnext_dense.engine.hooks import TEST_FACTS
from convnext_dense.errors import UserError
from convnext_dense.tasks import task_of


def use_views(cfg: Config) -> None:
    """Makes a config's test one of several views.

    The images leave the data loader as they are; the views are made one at a time, so that
    neither the loader nor its queue holds all of them.

    Raises:
        UserError: For a task whose results cannot be merged, a config without views, or with views
            that cannot be used.
    """
    if reason := task_of(cfg).no_views:
        raise UserError(f"--tta: {reason}.")
    if "tta_views" not in cfg:
        raise UserError("--tta: the config has no tta_views, the list of views to test in.")
    views = dict(cfg.tta_views, resize=take_resize(cfg, "--tta"))
    build_views(views)  # wrong entries are named before a model is built
    cfg.test_cfg = dict(type="MultiViewTestLoop", views=views)


def take_resize(cfg: Config, flag: str) -> ConfigDict:
    """Removes the ``Resize`` step of the test pipeline, and returns it.

    Raises:
        UserError: In the name of a flag, where there is not exactly one.
    """
    steps = [_take_resize(dataset, flag) for dataset in datasets(cfg, "test")]
    if any(step != steps[0] for step in steps):
        raise UserError(f"{flag}: the test's datasets are resized in different ways.")
    return steps[0]


def _take_resize(dataset: ConfigDict, flag: str) -> ConfigDict:
    steps = [step for step in dataset.pipeline if step.type.split(".")[-1] == "Resize"]
    if len(steps) != 1:
        raise UserError(
            f"{flag} replaces the one Resize of the test pipeline; this one has {len(steps)}."
        )
    dataset.pipeline = [step for step in dataset.pipeline if step is not steps[0]]
    return steps[0]


def build_views(views: dict):
    """Builds what ``tta_views`` names; a misspelt entry is one sentence."""
    try:
        return TASK_UTILS.build(dict(views))
    except (TypeError, KeyError) as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error
        raise UserError(f"tta_views does not fit: {error}") from error


@LOOPS.register_module()
class MultiViewTestLoop(TestLoop):
    """Tests in several views, and takes the time of it.

    The first images are also tested as the plain test does (without effect on the figures), for
    the time to compare with; a first such pass is not counted, since it warms up. Reading the
    images counts in neither time, resizing in both.

    Args:
        runner, dataloader, evaluator, fp16: As in mmengine.
        views: See :func:`use_views`.
        timed: The plain test's time is measured on this many batches; 0: no plain test at all.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        views: dict,
        fp16: bool = False,
        timed: int = 10,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        self.views = build_views(views)
        self.timed = timed
        self._seconds = {"all": 0.0, "single": 0.0}
        self._images = {"all": 0, "single": 0}

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Tests one batch in all views."""
        runner = self.runner
        runner.call_hook("before_test_iter", batch_idx=idx, data_batch=data_batch)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        paths = ", ".join(sample.img_path for sample in data_batch["data_samples"])
        with explaining_opencv(paths), autocast(enabled=self.fp16):
            if idx == 0 and self.timed:
                self.views.predict_single_scale(model, data_batch)
            if idx < self.timed:
                self._time("single", self.views.predict_single_scale, model, data_batch)
            outputs = self._time("all", self.views.predict, model, data_batch)
        runner.message_hub.update_info(TEST_FACTS, self._facts())
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        runner.call_hook("after_test_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)

    def _time(self, what: str, predict: Callable, model, batch: dict) -> list:
        _wait_for_device()
        start = time.perf_counter()
        outputs = predict(model, batch)
        _wait_for_device()
        self._seconds[what] += time.perf_counter() - start
        self._images[what] += len(outputs)
        return outputs

    def _facts(self) -> dict[str, bool | int | float]:
        names = {"all": "seconds_per_image", "single": "seconds_per_image_single"}
        seconds = {
            name: self._seconds[what] / self._images[what]
            for what, name in names.items()
            if self._images[what]
        }
        return {**self.views.facts, **seconds}


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
