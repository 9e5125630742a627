"""A trained model: ``load("work_dirs/birds").predict("street.jpg")``.

An exported model is the same object, and needs neither torch nor a toolbox.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from convnext_dense.data.bands.reading import check_range
from convnext_dense.errors import UserError
from convnext_dense.inference.base_result import Legend, Result
from convnext_dense.inference.instances import Instances
from convnext_dense.inference.network import Network, Scores, Segments
from convnext_dense.inference.results import (
    ClassificationResult,
    DetectionResult,
    PanopticResult,
    SegmentationResult,
)
from convnext_dense.inference.sources import OnError, SourceImage, images
from convnext_dense.inference.steps import Tiles, Whole
from convnext_dense.inference.tiles import check_tiles

BEST = "best"
UNMEASURED = 0.3  # for a class without a best threshold: no validation image showed it
EXPORT_FILE, EXPORT_FORMAT = "model.json", "convnext_dense.export"
EXPORTED = "convnext_dense.exported.loading"  # by name: its room imports this one


def load(
    source: str | os.PathLike,
    config: str | os.PathLike | None = None,
    device: str | None = None,
    ema: bool = False,
) -> "Model":
    """Loads a trained detector, segmentor, panoptic model or classifier.

    Args:
        source: A work folder (its newest whole checkpoint), a checkpoint file or address, the name
            or path of a config whose weights the release has, the name of an official file,
            ``hf:owner/name``, or the folder of an exported model, for which torch is not imported.
        config: The config the checkpoint was trained with, by path or name, where the source
            brings none. Checkpoints of runs store theirs, which is read as data.
        device: Where to run; by default the GPU where there is one.
        ema: Take the averaged weights of a run that kept them (``--average-weights``).

    Raises:
        UserError: For a source that is none of these, a checkpoint of another model, or one whose
            classes nothing names.
    """
    if is_export(source):
        if config is not None:
            raise UserError(f"{source} is an exported model, which has no config: leave it out.")
        if ema:
            raise UserError(
                f"{source} is an exported model, whose weights are chosen when it is exported: "
                "leave out ema (--ema), and give it to the export."
            )
        return import_module(EXPORTED).load_exported(Path(source), device)
    try:
        from convnext_dense.inference.trained.loading import load_trained
    except ModuleNotFoundError as error:
        raise UserError(
            f"{source} is not the folder of an exported model, and other models need the package "
            f"{error.name}, which is not installed."
        ) from error
    return load_trained(source, config, device, ema)


def is_export(source: Any) -> bool:
    """Whether a source is the folder of an exported model.

    Raises:
        UserError: Where its description is damaged.
    """
    if not isinstance(source, str | os.PathLike) or not os.fspath(source):
        return False
    file = Path(source, EXPORT_FILE)
    if not file.is_file():
        return False
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}): export the model again.") from error
    return isinstance(content, dict) and content.get("format") == EXPORT_FORMAT


class Model:
    """A trained model, ready for images.

    Args:
        network: The built network.
        source: The model as it was named.
        palette: RGB of each class as the training data brought it.
        best_thresholds: Gives the thresholds that maximise F1 by class name, or says in a sentence
            why there are none.

    Attributes:
        task: ``detection``, ``segmentation``, ``panoptic`` or ``classification``.
        classes: Class names, by label.
        source: The model as it was named.
    """

    def __init__(
        self,
        network: Network,
        source: str,
        palette: Sequence[Sequence[int]] | None = None,
        best_thresholds: Callable[[], dict[str, float]] | None = None,
    ) -> None:
        self.network = network
        self.task, self.classes = network.task, network.classes
        self.source = source
        self.legend = Legend(self.classes, palette)
        self._best_thresholds = best_thresholds

    @property
    def best_thresholds(self) -> dict[str, float]:
        """The threshold that maximises F1 on the validation images, by class name.

        A training or a test has stored them in the checkpoint, or in ``metrics.json`` beside it.

        Raises:
            UserError: Where there are none.
        """
        if self._best_thresholds is None:
            raise UserError(
                f"There are no best thresholds in {self.source}: give a number instead."
            )
        return self._best_thresholds()

    def __repr__(self) -> str:
        return f"Model({self.source}, {self.task}, {len(self.classes)} classes)"

    def __call__(self, image: Any, **options: Any) -> Result:
        """The result of one image; ``options`` as :meth:`predict`.

        Raises:
            UserError: As :meth:`predict`, and for a source of several images.
        """
        results = self.predict(image, **options)
        found = [result for result, _ in zip(results, range(2), strict=False)]
        if len(found) != 1:
            raise UserError("The source does not hold one image: use predict(), which yields all.")
        return found[0]

    def predict(
        self,
        source: Any,
        batch_size: int = 1,
        threshold: float | str = UNMEASURED,
        tile: int | None = None,
        overlap: float = 0.2,
        whole: bool = False,
        tta: bool = False,
        bgr: bool = False,
        probabilities: bool = False,
        on_error: OnError | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> Iterator[Result]:
        """Predicts every image of a source, in order, as the results are asked for.

        Args:
            source: A path, glob pattern, folder, https address, video file, number of a camera,
                image of Pillow, RGB array, tensor, or a list or generator of these.
            batch_size: Images that are read ahead; those of one size pass through the network
                together. It changes memory and speed, not the results.
            threshold: Detections below this score are left out; ``"best"`` takes the threshold that
                maximises F1 for each class. It has no meaning for other tasks.
            tile: Predict in square tiles of this many pixels of the image, and merge.
            overlap: The part of a tile that it shares with its neighbour, from 0 to below 1.
            whole: Predict the whole image beside its tiles.
            tta: Predict in all views of the config's ``tta_views``, and merge.
            bgr: Arrays and tensors hold blue, green, red, as OpenCV reads them.
            probabilities: Give a segmentor's probability of every class (``scores_map``).
            on_error: Called with the name and the error of an image that cannot be read or
                predicted, which is then left out. By default the error is raised.
            value_range: The values that become 0 and 255, of images of more than 8 bits; by
                default those of the training.

        Yields:
            :class:`DetectionResult`, :class:`SegmentationResult`, :class:`PanopticResult` or
            :class:`ClassificationResult`.

        Raises:
            UserError: For an option that does not fit the model, at once; for an image that cannot
                be read or predicted, when its turn comes.
        """
        self.check_options(batch_size, threshold, tile, overlap, whole, tta, probabilities)
        least = self._thresholds(threshold)
        if tile is None:
            step = Whole(self.network, tta, probabilities)
        else:
            options = dict(tile=tile, overlap=overlap, whole=whole, batch_size=batch_size)
            step = Tiles(self.network, tta, probabilities, options)
        reading = self.network.reading
        if value_range is not None:
            reading = replace(reading, value_range=check_range(value_range))
        read = images(source, bgr, on_error, reading)
        return self._results(read, step, batch_size, least, on_error)

    def check_options(
        self,
        batch_size: int = 1,
        threshold: float | str = UNMEASURED,
        tile: int | None = None,
        overlap: float = 0.2,
        whole: bool = False,
        tta: bool = False,
        probabilities: bool = False,
    ) -> None:
        """Refuses options of :meth:`predict` that do not fit the model; reads no image.

        Raises:
            UserError: Names the option.
        """
        if not isinstance(batch_size, Integral) or batch_size < 1:
            raise UserError(f"batch_size must be a whole number from 1 on, got {batch_size!r}.")
        if tile is None and whole:
            raise UserError("whole=True belongs to tile, which is not given.")
        if probabilities and self.task not in ("segmentation", "classification"):
            raise UserError("probabilities are a segmentor's and a classifier's: leave them out.")
        if tile is not None and self.task not in ("detection", "segmentation"):
            raise UserError("tile is for detectors and segmentors: others see whole images.")
        if tile is not None:
            check_tiles(tile, overlap)
        if tta:
            with self.network.working():
                self.network.check_views()
        self._thresholds(threshold)

    def _results(
        self,
        source: Iterator[SourceImage],
        step: Whole | Tiles,
        batch_size: int,
        least: np.ndarray,
        on_error: OnError | None,
    ) -> Iterator[Result]:
        window: list[SourceImage] = []
        for image in source:
            window.append(image)
            if len(window) == batch_size:
                yield from self._window(window, step, least, on_error)
                window = []
        yield from self._window(window, step, least, on_error)

    def _window(
        self,
        window: Sequence[SourceImage],
        step: Whole | Tiles,
        least: np.ndarray,
        on_error: OnError | None,
    ) -> list[Result]:
        """The results of some images."""
        taken, prepared = [], []
        with self.network.working():
            for image in window:
                try:
                    prepared.append(step.prepare(image))
                    taken.append(image)
                except UserError as error:
                    if on_error is None:
                        raise
                    on_error(image.name, error)
            outcomes = step.predict(prepared)
        return [self._result(*pair, least) for pair in zip(taken, outcomes, strict=True)]

    def _result(self, image: SourceImage, outcome: Any, least: np.ndarray) -> Result:
        if isinstance(outcome, Instances):
            chosen = outcome.select(outcome.scores >= least[outcome.labels])
            return DetectionResult(image, self.legend, chosen)
        if isinstance(outcome, Scores):
            return SegmentationResult(image, self.legend, outcome.labels, outcome.probabilities)
        if isinstance(outcome, Segments):
            return PanopticResult(image, self.legend, outcome.ids, outcome.labels, outcome.things)
        return ClassificationResult(image, self.legend, outcome)

    def _thresholds(self, threshold: float | str) -> np.ndarray:
        """The least score of every class (classes,)."""
        if isinstance(threshold, str) and threshold == BEST:
            if self.task != "detection":
                raise UserError("threshold='best' is for a detector, whose objects have scores.")
            best = self.best_thresholds
            return np.array([best.get(name, UNMEASURED) for name in self.classes])
        if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
            raise UserError(f"threshold must be from 0 to 1, or 'best', got {threshold!r}.")
        return np.full(len(self.classes), threshold)
