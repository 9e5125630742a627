"""The end of a run on the console: what it has made, and the commands that go on from there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from convnext_dense.cli.shared.invocation import command_line
from convnext_dense.engine.runner import DenseRunner
from convnext_dense.inference.model import is_export
from convnext_dense.runs.checkpointing import newest_whole
from convnext_dense.runs.console import format_rows, say
from convnext_dense.runs.run_summary import headline, test_words
from convnext_dense.runs.saved_files import read_json
from convnext_dense.runs.work_folder import BEGUN
from convnext_dense.tasks import HEADLINE, entry_of

PAGE = "report.html"
LIFTED = "_max"  # in the names of a detector's figures that count more than COCO's 100 detections


def say_end_of_training(runner: DenseRunner) -> None:
    """Prints figures, checkpoint and log of a training, and how to test it, compare it, use it."""
    folder = near(runner.work_dir)
    metrics = folder / "metrics.json"
    figures = format_headline(read_json(metrics, [])) if metrics.is_file() else ""
    made = [
        *([("figures", f"{figures}  ({metrics})")] if figures else []),
        *_checkpoint_rows(folder),
        ("log", str(near(runner.logger.log_file))),
    ]
    test = [*test_words(folder, near(runner.config_file)), "--show-dir", folder / "test/images"]
    loop = runner.train_loop if runner.val_loop is None else runner.val_loop
    following = [
        *([command_line("test", *test)] if runner.cfg.get("test_dataloader") else []),
        command_line("report", folder, "--out", folder / PAGE),
        *_predict(runner, loop.dataloader.dataset, folder),
    ]
    say("", format_rows(f"Trained: {runner.iter:,} iterations", made))
    say(Text("Next", "bold"))
    say_commands(following)


def say_end_of_test(
    runner: DenseRunner,
    checkpoint: str,
    out: str | None,
    images: str | None,
    views: Sequence[str] = (),
) -> None:
    """Prints what a test has made, but for its figures, and how to compare and use the model.

    Args:
        runner: The runner of the test.
        checkpoint: What was tested.
        out, images: ``--out`` and ``--show-dir``.
        views: The flags of the test that a prediction must have too, to see the same.
    """
    folder = near(runner.work_dir)
    made = [
        *([("results", str(out))] if out else []),
        *([("images", f"{images}  (ground truth, prediction)")] if images else []),
        ("log", str(near(runner.logger.log_file))),
    ]
    following = [
        command_line("report", *_compared(folder, checkpoint), "--out", folder / PAGE),
        *_predict(runner, runner.test_loop.dataloader.dataset, checkpoint, views),
    ]
    say("", format_rows(f"Tested: {checkpoint}", made), Text("Next", "bold"))
    say_commands(following)


def say_commands(commands: list[str]) -> None:
    """Prints commands, a line each, to be copied."""
    say(*(f"  {command}" for command in commands))


def format_headline(metrics: dict[str, Any]) -> str:
    """The figures that a run prints last, of any task, and those that count more detections.

    COCO's -1 means that there is nothing to measure on.
    """
    short = {name.split("/", 1)[-1]: value for name, value in metrics.items()}
    lifted = {name: value for name, value in short.items() if name.partition(LIFTED)[0] in HEADLINE}
    shown = {**headline(short), **lifted}.items()
    return "  ".join(f"{name} {'-' if value == -1 else f'{value:.3f}'}" for name, value in shown)


def _checkpoint_rows(folder: Path) -> list[tuple[str, str]]:
    best = sorted(folder.glob("best_*.pth"), key=lambda path: path.stat().st_mtime)
    rows = [("best checkpoint", str(path)) for path in best[-1:]]
    newest = newest_whole(folder)
    return [*rows, *([("checkpoint", str(newest))] if newest else [])]


def _compared(folder: Path, checkpoint: str) -> list[Path]:
    """The folders of a report about a test: with its training, where the checkpoint is in one."""
    training = Path(checkpoint).parent
    if not (training / BEGUN).is_file():
        return [folder]
    inside = training.resolve() in (folder.resolve(), folder.resolve().parent)
    return [training] if inside else [training, folder]


def _predict(
    runner: DenseRunner, dataset: Any, checkpoint: object, views: Sequence[str] = ()
) -> list[str]:
    """The command that predicts an image of a dataset, where it is a file of its own."""
    read = getattr(dataset, "get_data_info", None)
    image = read(0).get("img_path") if read and len(dataset) else None
    if entry_of(runner.cfg) is None or not image or not Path(image).is_file():
        return []
    out = near(runner.work_dir) / "predictions"
    # An exported model needs no config.
    model = [checkpoint] if is_export(checkpoint) else [near(runner.config_file), checkpoint]
    return [command_line("predict", *model, near(image), "--out", out, *views)]


def near(path: str | Path) -> Path:
    """A path as it is called from the present folder, where it lies in it."""
    path = Path(path)
    inside = path.is_absolute() and path.is_relative_to(Path.cwd())
    return path.relative_to(Path.cwd()) if inside else path
