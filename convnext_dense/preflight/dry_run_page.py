"""The page of ``--dry-run``: what a run would be, on one screen."""

from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.config import Config

from convnext_dense.config.tree import datasets
from convnext_dense.data.coco.annotation_file import count_instances, read_summary
from convnext_dense.data.coco.fit_config import annotation_path, min_size
from convnext_dense.data.fit_schedule import Batch
from convnext_dense.data.image_scan import Opened
from convnext_dense.engine.runner import DenseRunner
from convnext_dense.preflight.start_check import plain_model
from convnext_dense.preflight.step_probe import Facts, memory
from convnext_dense.runs.work_folder import environment

MOST, LEAST = 8, 3  # classes of a shortened list
VERSIONS = ("python", "torch", "mmengine", "mmdet", "mmsegmentation", "timm")
FIGURES = ("bbox_mAP", "segm_mAP", "mIoU", "top1", "top1_ema")
GB = 1e9


def format_page(
    cfg: Config,
    recipe: Config,
    runner: DenseRunner,
    facts: Facts,
    opened: dict[str, list[Opened]],
    weights: str,
    space: tuple[int, int, int],
) -> str:
    """The page, a line or a few each: see docs/trust.md for one.

    Args:
        cfg: The config of the run.
        recipe: The config as its file states it.
        runner: The runner of the trial, after its step.
        facts: What the trial showed.
        opened: The pictures that were opened.
        weights: What the run starts from.
        space: Bytes of a checkpoint, how many are kept, bytes that are free.
    """
    rows = [
        ("environment", _environment()),
        *_data_rows(cfg, runner, opened),
        ("classes", _classes(runner)),
        *_histogram_rows(cfg, runner, opened),
        ("heads", _heads(cfg)),
        ("parameters", _parameters(runner)),
        ("weights", weights),
        ("memory", _memory(cfg, runner, facts)),
        *_batch_rows(cfg, recipe),
        ("checkpoints", _checkpoints(cfg, space)),
        ("training step", _step(facts)),
        ("evaluation", _evaluation(facts)),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:{width}}  {text}" for name, text in rows]
    end = "The work folder is untouched; the same command without --dry-run starts the run."
    return "\n".join([f"Dry run of {cfg.filename or 'the config'}", *lines, end])


def _environment() -> str:
    found = environment()
    versions = [f"{name} {found[name]}" for name in VERSIONS if found[name]]
    return ", ".join([f"convnext_dense {found['convnext_dense']}", *versions, found["device"]])


def _data_rows(
    cfg: Config, runner: DenseRunner, opened: Mapping[str, Sequence[Opened]]
) -> list[tuple[str, str]]:
    rows = []
    for split in ("train", "val"):
        for data in datasets(cfg, split):
            text = data.data_root
            if str(data.get("ann_file", "")).endswith("json"):
                summary = read_summary(annotation_path(data))
                text = (
                    f"{len(summary.file_names):,} pictures, {summary.num_annotations:,} "
                    f"annotations: {summary.path}"
                )
            rows.append((f"{split} data", text))
        if split == "train":
            rows.append(("", f"{len(runner.train_dataloader.dataset):,} pictures are trained on"))
        if opened[split]:
            rows.append(("", f"{len(opened[split]):,} of them opened, nothing wrong"))
    return rows


def _classes(runner: DenseRunner) -> str:
    names = _names(runner)
    shown = names if len(names) <= MOST + LEAST else (*names[:MOST], "...", names[-1])
    return f"{len(names)}: {', '.join(shown)}"


def _names(runner: DenseRunner) -> tuple[str, ...]:
    return tuple(runner.train_dataloader.dataset.metainfo["classes"])


def _histogram_rows(
    cfg: Config, runner: DenseRunner, opened: Mapping[str, Sequence[Opened]]
) -> list[tuple[str, str]]:
    """Instances, pictures or the share of pixels of each class in the training data."""
    names, dataset = _names(runner), runner.train_dataloader.dataset
    first = datasets(cfg, "train")[0]
    if str(first.get("ann_file", "")).endswith("json"):
        counts: dict[str, int] = dict.fromkeys(names, 0)
        for data in datasets(cfg, "train"):
            summary = read_summary(annotation_path(data))
            for name, count in count_instances(summary, names, min_size(data)).items():
                counts[name] += count
        return [("instances", _shorten(counts))]
    labels = [one.labels for one in opened["train"] if one.labels is not None]
    if labels:
        pixels = np.sum(labels, axis=0)
        known = dict(zip(names, pixels[: len(names)].tolist(), strict=True))
        ignored = pixels[-1] / pixels.sum()
        text = _shorten(known, unit=max(1, sum(known.values())))
        return [("pixels", f"{text}; ignored {ignored:.1%} (of {len(labels)} labels)")]
    if hasattr(dataset, "count_labels") and (found := dataset.count_labels()) is not None:
        return [("pictures", _shorten(dict(zip(names, found, strict=True))))]
    return []


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


def _heads(cfg: Config) -> str:
    found = []

    def look(node, path: str) -> None:
        if isinstance(node, Mapping):
            if "num_classes" in node:
                found.append(f"{path} {node['num_classes']}")
            for key, value in node.items():
                look(value, f"{path}.{key}" if path else key)
        elif isinstance(node, list | tuple):
            for number, value in enumerate(node):
                look(value, f"{path}.{number}")

    look(cfg.model, "")
    return ", ".join(found) or "none with classes"


def _parameters(runner: DenseRunner) -> str:
    model = plain_model(runner)
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    backbone = getattr(model, "backbone", None)
    share = sum(p.numel() for p in backbone.parameters()) if backbone is not None else 0
    return f"{total / 1e6:.2f} M, {trained / 1e6:.2f} M train, {share / 1e6:.2f} M backbone"


def _memory(cfg: Config, runner: DenseRunner, facts: Facts) -> str:
    batch = cfg.train_dataloader.batch_size
    found = memory(runner, facts, batch)
    activations = found.pop("activations")
    text = " + ".join(f"{name} {count / GB:.2f}" for name, count in found.items())
    if activations is None:
        return f"{text} GB, and activations, which this system does not tell"
    how = "measured" if batch == facts.batch else f"from a step of {facts.batch} pictures"
    total = sum(found.values()) + activations
    return f"about {total / GB:.1f} GB: {text} + activations {activations / GB:.2f} ({how})"


def _batch_rows(cfg: Config, recipe: Config) -> list[tuple[str, str]]:
    accumulated = cfg.optim_wrapper.get("accumulative_counts", 1)
    batch = Batch(cfg.train_dataloader.batch_size, 1, accumulated)
    base = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    written = (recipe.get("auto_scale_lr") or {}).get("base_batch_size", base)
    per_step = f"{batch.step} pictures a step in one process; the recipe has {written or '?'}"
    lr = cfg.optim_wrapper.optimizer.lr
    text = f"{lr:g}"
    if base and base != batch.step:
        scaled = f"{lr * batch.step / base:g}"
        if cfg.auto_scale_lr.get("enable"):
            text = f"{scaled}: {lr:g} x {batch.step} / {base} pictures"
        else:
            text += f", the recipe's for {base} pictures; --auto-scale-lr makes it {scaled}"
    return [("batch", per_step), ("learning rate", text)]


def _checkpoints(cfg: Config, space: tuple[int, int, int]) -> str:
    size, count, free = space
    return f"{count} at a time of {size / GB:.2f} GB; {free / GB:.0f} GB free for {cfg.work_dir}"


def _step(facts: Facts) -> str:
    parts = {name: value for name, value in facts.losses.items() if name != "loss"}
    total = facts.losses.get("loss", sum(parts.values()))
    detail = ", ".join(f"{name} {value:.3g}" for name, value in parts.items())
    text = f"{facts.batch} pictures, {facts.seconds:.1f} s, loss {total:.4g}"
    return f"{text} ({detail})" if detail else text


def _evaluation(facts: Facts) -> str:
    short = {name.split("/")[-1]: value for name, value in facts.metrics.items()}
    shown = [f"{name} {short[name]:.3f}" for name in FIGURES if name in short]
    return ", ".join([f"{facts.evaluated} pictures", *shown])
