"""Evaluation on other test sets (appendix B of the paper): accuracies and corruption errors.

Figures are fractions: a top-1 of 0.821 or an mCE of 0.532, where papers print 82.1 and 53.2.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from convnext_dense.classification.load_trained import TrainedClassifier
from convnext_dense.classification.robustness.corruption_tables import ALEXNET_ERRORS, SEVERITIES
from convnext_dense.classification.robustness.corruptions import CorruptingTransform
from convnext_dense.classification.robustness.counting import Counts, Options, count_folder
from convnext_dense.classification.robustness.suites import (
    SUITES,
    Suite,
    corrupted_folder,
    is_imagenet,
)
from convnext_dense.classification.transforms import TestTransform
from convnext_dense.errors import UserError


def evaluate(
    model: TrainedClassifier,
    data: str | Path,
    suite: str,
    options: Options,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Evaluates a classifier on one of ``SUITES``.

    Args:
        model: See :func:`convnext_dense.classification.load_trained.open_classifier`.
        data: Folder of the suite, as its archive unpacks.
        suite: A key of ``SUITES``.
        options: Options of the evaluation.
        report: Called with a line of text after each folder.

    Returns:
        The figures as fractions in [0, 1]: ``top1``, ``top5``, ``error``, ``pictures``; for
        corruptions see :func:`corruption_figures`.

    Raises:
        UserError: If classifier, folders or options do not fit the suite.
    """
    settings = SUITES[suite]
    _check(model, settings, options)
    data = Path(data)
    if not settings.corruptions:
        counts = count_folder(model, data, settings, options)
        _report_unreadable(counts, report)
        return counts.figures()
    names = options.corruptions or settings.corruptions
    folders = {
        (name, severity): data if options.corrupt else corrupted_folder(data, name, severity)
        for name in names
        for severity in options.severities
    }
    if not options.corrupt:
        _check_same_classes(list(folders.values()))
    transforms = {
        key: CorruptingTransform(*key, transform_without_crop(model))
        if options.corrupt
        else transform_without_crop(model)
        for key in folders
    }
    errors: dict[str, dict[int, float]] = {name: {} for name in names}
    for (name, severity), folder in folders.items():
        key = (name, severity)
        counts = count_folder(model, folder, settings, options, transforms[key], key)
        _report_unreadable(counts, report)
        errors[name][severity] = counts.figures()["error"]
        report(f"{name} {severity}: error {errors[name][severity]:.3f}")
    figures = corruption_figures(errors, suite == "c" and is_imagenet(model.classes))
    return {**figures, "pictures": counts.images, "made_on_the_fly": options.corrupt}


def corruption_figures(
    errors: Mapping[str, Mapping[int, float]], normalise: bool
) -> dict[str, Any]:
    """Corruption errors from top-1 errors.

    The corruption error (CE) of a corruption is the sum of its five errors divided by the sum of
    AlexNet's; the mCE is the mean of 15 CEs (Hendrycks and Dietterich 2019, section 4.1). For
    C-bar the mean of the errors is taken, without AlexNet's (Mintun et al. 2021).

    Args:
        errors: Top-1 error in [0, 1] of each corruption and severity.
        normalise: Whether to divide by AlexNet's errors, which exist for ImageNet-C.

    Returns:
        ``mean_error``; ``corruptions``: for each corruption its ``errors`` by severity, their mean
        ``error`` and, if normalised and with all five severities, ``CE``; ``mCE`` if all 15
        corruptions have a CE.
    """
    table = {}
    for name, by_severity in errors.items():
        mean = sum(by_severity.values()) / len(by_severity)
        row = {"error": mean, "errors": {str(s): e for s, e in by_severity.items()}}
        if normalise and set(by_severity) == set(SEVERITIES):
            row["CE"] = mean / ALEXNET_ERRORS[name]
        table[name] = row
    figures = {"mean_error": sum(row["error"] for row in table.values()) / len(table)}
    ratios = [row["CE"] for row in table.values() if "CE" in row]
    if len(ratios) == len(ALEXNET_ERRORS):
        figures["mCE"] = sum(ratios) / len(ratios)
    return {**figures, "corruptions": table}


def transform_without_crop(model: TrainedClassifier) -> TestTransform:
    """The test transform for images that are already cropped to 224 x 224."""
    return TestTransform(**{**model.transform, "crop": 1.0})


def _check(model: TrainedClassifier, suite: Suite, options: Options) -> None:
    if suite.imagenet_only and not is_imagenet(model.classes):
        raise UserError(
            f"{suite.title} needs a classifier of the 1000 ImageNet classes, but {model.source} "
            f"has {len(model.classes)} classes ({', '.join(model.classes[:3])}, ...)."
        )
    if not suite.corruptions and (options.corrupt or options.corruptions):
        raise UserError("--corrupt and --corruptions belong to the suites c and cbar.")
    if unknown := [name for name in options.corruptions if name not in suite.corruptions]:
        raise UserError(
            f"{suite.title} has no corruption {unknown[0]!r}; it has "
            f"{', '.join(suite.corruptions)}."
        )
    if not options.severities or set(options.severities) - set(SEVERITIES):
        raise UserError(f"The severities must be 1 to 5, got {options.severities}.")
    for name, value in (("limit", options.limit), ("batch-size", options.batch_size)):
        if value is not None and value < 1:
            raise UserError(f"--{name} must be at least 1, got {value}.")


def _check_same_classes(folders: list[Path]) -> None:
    """Refuses folders of which one lacks classes, as after an incomplete copy."""
    classes = [{entry.name for entry in folder.iterdir() if entry.is_dir()} for folder in folders]
    all_classes = set.union(*classes)
    for folder, names in zip(folders, classes, strict=True):
        if missing := sorted(all_classes - names):
            raise UserError(
                f"{folder} lacks {len(missing)} class folders that others of the suite have, such "
                f"as {missing[0]}: copy or unpack it again."
            )


def _report_unreadable(counts: Counts, report: Callable[[str], None]) -> None:
    for path, reason in counts.unreadable:
        report(f"{path} cannot be read and is left out ({reason}).")


def figure_lines(figures: Mapping[str, Any]) -> Iterable[str]:
    """The figures of :func:`evaluate` as lines of text."""
    table = figures.get("corruptions", {})
    for name, row in table.items():
        ratio = f"  CE {row['CE']:.3f}" if "CE" in row else ""
        yield f"{name:28} error {row['error']:.3f}{ratio}"
    keys = ("mCE", "mean_error", "top1", "top5", "error")
    yield "  ".join(f"{key} {figures[key]:.3f}" for key in keys if key in figures)
