"""The page of ``--dry-run``: a run on one screen, before it starts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmengine.config import Config

from convnext_dense.config.config_tree import datasets
from convnext_dense.config.settled_config import ABSENT, SettledConfig
from convnext_dense.data.fit_schedule import batch_of, iterations_per_epoch, plan_of
from convnext_dense.data.image_scan import OpenedImage
from convnext_dense.data.schedule_table import largest_rate
from convnext_dense.engine.runner import DenseRunner
from convnext_dense.engine.sharding import plain_model
from convnext_dense.preflight.memory.choice import GIB
from convnext_dense.preflight.memory.setting import RECORD
from convnext_dense.preflight.start_page import finetuning_rows, remark_rows
from convnext_dense.preflight.step_probe import StepMeasurements, memory_parts
from convnext_dense.runs.work_folder import environment
from convnext_dense.tasks import HEADLINE, Task, task_of

MOST, LEAST = 8, 3  # classes of a shortened list
VERSIONS = ("python", "torch", "mmengine", "mmdet", "mmsegmentation", "timm")
ENTRIES = 6  # changed entries of one reason
NONE = "none"
# Entries of a head that count classes, and what they count.
CLASS_COUNTS = {
    "num_classes": "",
    "num_things_classes": " things",
    "num_stuff_classes": " stuff",
}
# Paths and class names, which have lines of their own above.
UNSHOWN = re.compile(r"data_root$|metainfo\.|^launcher$|^work_dir$|^fitted_to|ann_file$")
GB = 1e9


@dataclass(frozen=True)
class ResumedRun:
    """Where a resumed run goes on, and the table of its checkpoint's settings and its own."""

    iteration: int
    lines: Sequence[str]


def format_page(
    settled: SettledConfig,
    runner: DenseRunner,
    measured: StepMeasurements,
    opened: dict[str, list[OpenedImage]],
    weights: str,
    space: tuple[int, int, int],
    resumed: ResumedRun | None = None,
) -> str:
    """The page, a line or a few for each subject: docs/reliability.md shows one.

    Args:
        settled: The config of the run, with the record of its changes.
        runner: The runner of the trial, after its step.
        measured: The trial's figures.
        opened: The images that were opened.
        weights: The origin of the weights, in a line.
        space: Bytes of a checkpoint, how many are kept, bytes that are free.
        resumed: Of a run that is resumed: its place and its table.
    """
    cfg, task = settled.cfg, task_of(settled.cfg)
    rows = [
        ("environment", _environment()),
        *_data_rows(cfg, task, runner, opened),
        ("classes", _classes(runner)),
        *_occurrence_rows(cfg, task, runner, opened),
        *remark_rows(cfg, ("train", "val"), opened),
        ("heads", describe_heads(cfg)),
        ("parameters", _parameters(runner)),
        ("weights", weights),
        *finetuning_rows(cfg),
        ("memory", _memory(cfg, runner, measured)),
        *_batch_rows(cfg, settled.recipe),
        *(_resumed_rows(resumed) if resumed else [_rate_row(cfg, runner)]),
        ("checkpoints", _checkpoints(cfg, space)),
        ("training step", _step(measured)),
        ("evaluation", _evaluation(measured)),
        *_change_rows(settled),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:{width}}  {text}" for name, text in rows]
    end = "The work folder is untouched; the same command without --dry-run starts the run."
    return "\n".join([f"Dry run of {cfg.filename or 'the config'}", *lines, end])


def _environment() -> str:
    known = environment()
    versions = [f"{name} {known[name]}" for name in VERSIONS if known[name]]
    return ", ".join([f"convnext_dense {known['convnext_dense']}", *versions, known["device"]])


def _data_rows(
    cfg: Config, task: Task, runner: DenseRunner, opened: Mapping[str, Sequence[OpenedImage]]
) -> list[tuple[str, str]]:
    rows = []
    for split in ("train", "val"):
        known = task.datasets(cfg, split)
        for dataset in datasets(cfg, split):
            text = task.describe_dataset(dataset) if dataset in known else dataset.data_root
            rows.append((f"{split} data", text))
        if split == "train":
            rows.append(("", f"{len(runner.train_dataloader.dataset):,} images are trained on"))
        if whole := sum(image.size is not None for image in opened[split]):
            rows.append(("", f"{whole:,} of them opened, all can be used"))
    return rows


def _classes(runner: DenseRunner) -> str:
    names = _names(runner)
    if not names:
        return NONE
    shown = names if len(names) <= MOST + LEAST else (*names[:MOST], "...", names[-1])
    return f"{len(names)}: {', '.join(shown)}"


def _names(runner: DenseRunner) -> tuple[str, ...]:
    return tuple(runner.train_dataloader.dataset.metainfo.get("classes", ()))


def _occurrence_rows(
    cfg: Config, task: Task, runner: DenseRunner, opened: Mapping[str, Sequence[OpenedImage]]
) -> list[tuple[str, str]]:
    """How often each class occurs in the training data."""
    occurrences = task.count_classes(cfg, runner.train_dataloader.dataset, opened["train"])
    if occurrences is None:
        return []
    unit = max(1, sum(occurrences.counts.values())) if occurrences.as_shares else None
    text = _shorten(occurrences.counts, unit=unit)
    return [(occurrences.what, f"{text}; {occurrences.note}" if occurrences.note else text)]


def _shorten(counts: Mapping[str, int], unit: int | None = None) -> str:
    """Counts from the largest on, or shares of ``unit``; of many classes both ends."""
    ordered = sorted(counts.items(), key=lambda entry: -entry[1])
    parts = [
        f"{name} {count / unit:.1%}" if unit else f"{name} {count:,}" for name, count in ordered
    ]
    if len(parts) > MOST + LEAST:
        parts = [*parts[:MOST], "...", *parts[-LEAST:]]
    none = sum(not count for count in counts.values())
    return ", ".join(parts) + (f" ({none} of {len(counts)} classes have none)" if none else "")


def _change_rows(settled: SettledConfig) -> list[tuple[str, str]]:
    """The entries that differ from the config file, by the reason of their change."""
    by_reason: dict[str, list[str]] = {}
    for change in settled.final_changes():
        is_default = change.before == ABSENT and change.after in (None, False)
        if not is_default and not UNSHOWN.search(change.key):
            entry = f"{change.key} {change.before} -> {change.after}"
            by_reason.setdefault(change.reason, []).append(entry)
    rows = [f"{reason}: {_some(entries)}" for reason, entries in by_reason.items()]
    return [("" if number else "changed", row) for number, row in enumerate(rows)]


def _some(entries: Sequence[str]) -> str:
    more = len(entries) - ENTRIES
    return "; ".join(entries[:ENTRIES]) + (f"; ... and {more} more" if more > 0 else "")


def describe_heads(cfg: Config) -> str:
    """The heads of a model with their numbers of classes."""
    heads = []

    def look(node, path: str) -> None:
        if isinstance(node, Mapping):
            counts = [f"{node[key]}{kind}" for key, kind in CLASS_COUNTS.items() if key in node]
            if counts:
                heads.append(f"{path} {' + '.join(counts)}")
            for key, value in node.items():
                look(value, f"{path}.{key}" if path else key)
        elif isinstance(node, list | tuple):
            for number, value in enumerate(node):
                look(value, f"{path}.{number}")

    look(cfg.model, "")
    return ", ".join(heads) or "none with classes"


def _parameters(runner: DenseRunner) -> str:
    model = plain_model(runner)
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    backbone = getattr(model, "backbone", None)
    share = sum(p.numel() for p in backbone.parameters()) if backbone is not None else 0
    return f"{total / 1e6:.2f} M, {trained / 1e6:.2f} M train, {share / 1e6:.2f} M backbone"


def _memory(cfg: Config, runner: DenseRunner, measured: StepMeasurements) -> str:
    if fitted := cfg.get(RECORD):  # its trial has raised what this process holds
        return f"about {fitted['predicted_gib'] * GIB / GB:.1f} GB, as --fit-memory predicts"
    batch = cfg.train_dataloader.batch_size
    parts = memory_parts(runner, measured, batch)
    activations = parts.pop("activations")
    text = " + ".join(f"{name} {count / GB:.2f}" for name, count in parts.items())
    if activations is None:
        return f"{text} GB, and activations, which this system does not tell"
    how = "measured" if batch == measured.batch else f"from a step of {measured.batch} images"
    total = sum(parts.values()) + activations
    return f"about {total / GB:.1f} GB: {text} + activations {activations / GB:.2f} ({how})"


def _batch_rows(cfg: Config, recipe: Config) -> list[tuple[str, str]]:
    batch = batch_of(cfg, processes=1)
    base = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    written = (recipe.get("auto_scale_lr") or {}).get("base_batch_size", base)
    per_step = f"{batch.step} images a step in one process; the recipe has {written or '?'}"
    lr = cfg.optim_wrapper.optimizer.lr
    text = f"{lr:g}"
    if base and base != batch.step:
        scaled = f"{lr * batch.step / base:g}"
        if cfg.auto_scale_lr.get("enable"):
            text = f"{scaled}: {lr:g} x {batch.step} / {base} images"
        else:
            text += f", the recipe's for {base} images; --auto-scale-lr makes it {scaled}"
    return [("batch", per_step), ("learning rate", text)]


def _rate_row(cfg: Config, runner: DenseRunner) -> tuple[str, str]:
    batch = batch_of(cfg, processes=1)
    per_epoch = iterations_per_epoch(cfg, len(runner.train_dataloader.dataset), batch)
    return ("largest rate", " ".join(largest_rate(cfg, plan_of(cfg.train_cfg, per_epoch), batch)))


def _resumed_rows(resumed: ResumedRun) -> list[tuple[str, str]]:
    return [("" if number else "resumed", line) for number, line in enumerate(resumed.lines)]


def _checkpoints(cfg: Config, space: tuple[int, int, int]) -> str:
    size, count, free = space
    return f"{count} at a time of {size / GB:.2f} GB; {free / GB:.0f} GB free for {cfg.work_dir}"


def _step(measured: StepMeasurements) -> str:
    parts = {name: value for name, value in measured.losses.items() if name != "loss"}
    total = measured.losses.get("loss", sum(parts.values()))
    detail = ", ".join(f"{name} {value:.3g}" for name, value in parts.items())
    text = f"{measured.batch} images, {measured.seconds:.1f} s, loss {total:.4g}"
    return f"{text} ({detail})" if detail else text


def _evaluation(measured: StepMeasurements) -> str:
    if not measured.evaluated:  # a pretraining without labels
        return NONE
    short = {name.split("/")[-1]: value for name, value in measured.metrics.items()}
    shown = [f"{name} {short[name]:.3f}" for name in HEADLINE if name in short]
    return ", ".join([f"{measured.evaluated} images", *shown])
