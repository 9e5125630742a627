"""Hooks every run uses: the log, the layer-wise learning rates and the metrics file."""

import json
import math
import resource
from datetime import timedelta
from pathlib import Path
from statistics import median

import torch
from mmengine import dist
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, LOG_PROCESSORS
from mmengine.runner import LogProcessor

from convnext_dense.atomic_files import write_atomically
from convnext_dense.optim.lr_report import group_table, lr_range, write_csv
from convnext_dense.runs.console import LogText, Pause, format_figures, format_step
from convnext_dense.runs.signals import request
from convnext_dense.weights.checkpoints import BEST_THRESHOLDS

# Names under which the message hub holds what goes into metrics.json beside the figures.
PER_CLASS = "per_class"
TEST_FACTS = "facts_of_the_run"
TIMES = ("time", "data_time")  # of an evaluation's batches
ASKED = "asked_to_end"  # travels with the losses


@HOOKS.register_module()
class MeanLossHook(Hook):
    """Means of the losses over all processes for the log, which would show the first one's own."""

    priority = 5  # between FiniteChecksHook, which names this process's terms, and their recording

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Puts the means into the place of this process's losses.

        Whether a process was asked to end goes with them, so that all know at the same iteration.
        """
        if runner.world_size > 1 and outputs:
            like = next(iter(outputs.values()))
            outputs[ASKED] = torch.full_like(like, float(bool(request.name)), requires_grad=False)
            dist.all_reduce_dict(outputs, "mean")
            request.agreed = bool(outputs.pop(ASKED))
        # The log shows means over a window, where one nan would hide all other values;
        # FiniteChecksHook names it.
        if outputs and "loss" in outputs and not math.isfinite(outputs["loss"].detach()):
            outputs.clear()


@LOG_PROCESSORS.register_module()
class PassLogProcessor(LogProcessor):
    """mmengine's log lines, with shorter ones for the console.

    An evaluation inside of an epoch names that epoch, not the one before: in a run that
    ``--max-iters`` shortens the first one would be ``Epoch(val) [0]``.
    """

    def __init__(self, **settings) -> None:
        super().__init__(**settings)
        self.pause = Pause()  # between the console's lines about an evaluation that goes on

    def get_log_after_iter(self, runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        """The scalars of an iteration and its line, of which the console shows the main part."""
        tag, line = super().get_log_after_iter(runner, batch_idx, mode)
        seconds = runner.message_hub.runtime_info.get("eta")
        eta = "" if seconds is None else str(timedelta(seconds=int(seconds)))
        if mode == "train":
            epoch = tag["epoch"] if self.by_epoch else None
            shown = {**tag, **self._usual_norm(runner)}
            short = format_step(shown, runner.iter + 1, runner.max_iters, epoch, eta)
            self.pause.begin()
        elif self.pause.over():
            total = self._get_dataloader_size(runner, mode)
            short = f"{mode}  {batch_idx + 1}/{total}  eta: {eta}"
        else:
            short = None
        return tag, LogText(line, short, in_bar=True)

    def _usual_norm(self, runner) -> dict[str, float]:
        """The gradient norm for the console: the median of the steps that the log's mean is of.

        Detectors without RoI heads begin with norms of 1e8: one such step hides all others in a
        mean, for as long as it is in the window.
        """
        norms = runner.message_hub.log_scalars.get("train/grad_norm")
        if norms is None:
            return {}
        return {"grad_norm": median(norms.data[0][-self.window_size :].tolist())}

    def get_log_after_epoch(
        self, runner, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict, str]:
        """The figures of an evaluation and their line, which is a table on the console."""
        tag, line = super().get_log_after_epoch(runner, batch_idx, mode, with_non_scalar)
        where = f"after iteration {runner.iter}" if mode == "val" else ""
        if where and self.by_epoch:
            where = f"in epoch {self._get_epoch(runner, mode)}, {where}"
        figures = {name: value for name, value in tag.items() if name not in TIMES}
        title = f"Evaluation {where}".rstrip()
        table = format_figures(figures) if figures else ["no figures"]
        return tag, LogText(line, "\n".join([title, *table]))

    def _get_epoch(self, runner, mode: str) -> int:
        epoch = super()._get_epoch(runner, mode)
        if mode != "val" or runner._train_loop is None or isinstance(runner._train_loop, dict):
            return epoch
        return epoch + (runner.iter > epoch * len(runner.train_dataloader))


@HOOKS.register_module()
class LearningRateHook(Hook):
    """Writes ``lr_groups.csv`` and logs the smallest and largest learning rate.

    The names end in ``lr``: by that mmengine prints them as exponents.
    Scalars: ``train/min_lr``, ``train/max_lr`` and, without a GPU, ``train/memory`` (peak
    resident memory of the process in MB; mmengine logs the device's itself).
    """

    priority = "ABOVE_NORMAL"  # before the logger reads the scalars

    def before_train(self, runner) -> None:
        """Writes the table of parameter groups."""
        optimizer = runner.optim_wrapper.optimizer
        low, high = lr_range(optimizer)
        runner.logger.info(
            f"{len(optimizer.param_groups)} parameter groups, learning rates {low:.3e} to "
            f"{high:.3e} at the start."
        )
        if runner.rank == 0:
            write_csv(group_table(optimizer), Path(runner.work_dir) / "lr_groups.csv")

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Records the range of learning rates of this step."""
        low, high = lr_range(runner.optim_wrapper.optimizer)
        runner.message_hub.update_scalar("train/min_lr", low)
        runner.message_hub.update_scalar("train/max_lr", high)
        if not torch.cuda.is_available():
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            runner.message_hub.update_scalar("train/memory", peak)


@HOOKS.register_module()
class MetricsFileHook(Hook):
    """Writes ``metrics.json`` after every evaluation: the last one's figures, per class too.

    Keys lose the evaluator's prefix (``coco/bbox_mAP`` becomes ``bbox_mAP``).
    """

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Writes the figures of a validation during training."""
        self._write(runner, metrics, epoch=runner.epoch, iter=runner.iter)

    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Writes the figures of a test."""
        weights = {"ema": True} if runner.cfg.get("averaged_weights") else {}
        self._write(runner, metrics, **weights, checkpoint=str(runner._load_from))

    @master_only
    def _write(self, runner, metrics: dict[str, float] | None, **where: int | str) -> None:
        content = {
            key.split("/", 1)[-1]: _none_if_nan(value) for key, value in (metrics or {}).items()
        }
        info = runner.message_hub.runtime_info
        content.update({key: info[key] for key in (PER_CLASS, BEST_THRESHOLDS) if key in info})
        content.update(info.get(TEST_FACTS, {}))
        text = json.dumps({**content, **where}, indent=2, ensure_ascii=False)
        write_atomically(Path(runner.work_dir) / "metrics.json", text)


def _none_if_nan(value: float) -> float | None:
    """JSON knows no nan: a figure of images without any truth is null."""
    return None if math.isnan(value) else value
