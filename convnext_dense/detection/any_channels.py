"""mmdet's preprocessor and drawings for images of any number of channels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmengine.registry import HOOKS, MODELS

from convnext_dense.atomic_files import make_folder
from convnext_dense.data.images import read_shown


@MODELS.register_module()
class AnyChannelsPreprocessor(DetDataPreprocessor):
    """As mmdet's, which normalises 1 or 3 channels alone.

    Args:
        mean: A value a channel, in the order of the image.
        std: The same.
        options: See ``DetDataPreprocessor``.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), False)
        self._enable_normalize = True


@HOOKS.register_module()
class AnyChannelsVisualizationHook(DetVisualizationHook):
    """As mmdet's, which reads images by a decoder of colours; here the first three bands show."""

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=()) -> None:
        """Draws the first image of a batch, where drawing is switched on."""
        step = runner.iter + batch_idx
        if self.draw and step % self.interval == 0:
            self._draw(outputs[0], "val_img", step, None)

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=()) -> None:
        """Draws all images of a batch, where drawing is switched on."""
        for sample in outputs if self.draw else ():
            self._test_index += 1
            file = None
            if self.test_out_dir is not None:
                folder = Path(runner.work_dir, runner.timestamp, self.test_out_dir)
                make_folder(folder)
                file = str(folder / Path(sample.img_path).with_suffix(".jpg").name)
            self._draw(sample, "test_img", self._test_index, file)

    def _draw(self, sample: Any, name: str, step: int, file: str | None) -> None:
        self._visualizer.add_datasample(
            name,
            read_shown(sample.img_path),
            data_sample=sample,
            pred_score_thr=self.score_thr,
            out_file=file,
            step=step,
        )
