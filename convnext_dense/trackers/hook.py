"""Images, figures of a test and small files for the trackers, beside mmengine's log."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, VISUALIZERS
from mmengine.visualization import Visualizer

from convnext_dense.tasks import task_of
from convnext_dense.trackers.tracker import Tracker

FILES = ("env.json", "lr_groups.csv", "metrics.json")


@HOOKS.register_module()
class TrackerHook(Hook):
    """Hands to the run's trackers what mmengine's log does not.

    Args:
        images: How many images of each evaluation and test are drawn, the truth beside the
            prediction: the first ones, so that evaluations can be compared.
    """

    priority = 55  # after metrics.json is written, before mmengine closes the log (60)

    def __init__(self, images: int = 8) -> None:
        self.images = images
        self.trackers: list[Tracker] = []
        self._visualizer: Visualizer | None = None
        self._drawn = 0

    def before_run(self, runner) -> None:
        """Finds the trackers."""
        backends = runner.visualizer._vis_backends.values()
        self.trackers = [backend for backend in backends if isinstance(backend, Tracker)]

    def before_val_epoch(self, runner) -> None:
        """Notes the iteration of this evaluation."""
        self._begin(0 if _tests_alone(runner) else runner.iter)

    def before_test_epoch(self, runner) -> None:
        """Begins with the first image."""
        self._begin(0)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Draws the first images."""
        self._draw(runner, "val", outputs)

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Draws the first images."""
        self._draw(runner, "test", outputs)

    @master_only
    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Records the figures of a test."""
        for tracker in self.trackers:
            tracker.add_figures("test", metrics or {}, 0)

    @master_only
    def after_run(self, runner) -> None:
        """Keeps the small files."""
        for tracker in self.trackers:
            for name in FILES:
                tracker.add_file(Path(runner.work_dir) / name)

    def _begin(self, iteration: int) -> None:
        self._drawn = 0
        for tracker in self.trackers:
            tracker.iteration = iteration

    @master_only
    def _draw(self, runner, split: str, samples: Sequence[Any] | None) -> None:
        if not self.trackers or self._drawn >= self.images:
            return
        for sample in (samples or [])[: self.images - self._drawn]:
            try:
                task_of(runner.cfg).draw_result(
                    self._visualizer_of(runner, split),
                    f"{split}/{self._drawn}",
                    sample,
                    self.trackers[0].iteration,
                )
            # No image file, such as one in a tar, or whatever a toolbox says of a size: a drawing
            # for a tracker ends no training.
            except Exception as error:
                runner.logger.warning(f"The trackers get no images: {error}")
                self.images = 0
                return
            self._drawn += 1

    def _visualizer_of(self, runner, split: str) -> Visualizer:
        """The run's visualizer once more, writing to the trackers alone."""
        if self._visualizer is None:
            own = {**runner.cfg.visualizer, "name": f"{runner.visualizer.instance_name}_trackers"}
            own.update(vis_backends=self.trackers, save_dir=None)
            self._visualizer = VISUALIZERS.build(own)
        loader = runner.val_dataloader if split == "val" else runner.test_dataloader
        self._visualizer.dataset_meta = loader.dataset.metainfo
        return self._visualizer


def _tests_alone(runner) -> bool:
    """Whether there is no training loop, which ``runner.iter`` would build."""
    return runner._train_loop is None or isinstance(runner._train_loop, dict)
