"""The README of a model on the Hub: figures, data, how it was trained, how it is used."""

from collections.abc import Mapping, Sequence
from typing import Any

from convnext_dense.hub.data_facts import DataFacts
from convnext_dense.runs.run_summary import Rows, configuration, headline, throughput
from convnext_dense.runs.saved_runs import Training
from convnext_dense.version import __version__

PIPELINES = {
    "detection": "object-detection",
    "segmentation": "image-segmentation",
    "panoptic": "image-segmentation",
    "classification": "image-classification",
}
KINDS = {
    "detection": "detector",
    "segmentation": "segmentor",
    "panoptic": "panoptic model",
    "classification": "classifier",
}
SHOWN_ENV = ("convnext_dense", "python", "torch", "device", "processes", "started")
OF_THIS_MACHINE = ("folder", "command", "data", "started from", "backbone weights", "revision")


def model_card(
    run: Training,
    repo: str,
    classes: Sequence[str],
    facts: DataFacts,
    *,
    license: str | None,
    ema: bool,
    iteration: int | None = None,
) -> str:
    """The card as Markdown with the Hub's header.

    Args:
        run: The training.
        repo: ``owner/name``.
        classes: Class names, by label.
        facts: Counts of the data.
        license: Identifier of the weights' licence; without one the header has no such entry.
        ema: Whether the weights are the averaged ones.
        iteration: That of the weights, where it is known: figures may be of a later evaluation.
    """
    figures = headline(run.metrics)
    parts = [
        f"# {repo.split('/')[-1]}",
        _what(run, classes, ema),
        _use(repo),
        _figures(run, figures, iteration),
        _data(classes, facts),
        "## Training\n\n" + _table(("setting", "value"), _settings(run)),
    ]
    return _header(run, repo, figures, license) + "\n\n".join(part for part in parts if part) + "\n"


def _header(run: Training, repo: str, figures: Mapping[str, float], license: str | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    task = PIPELINES.get(run.task or "")
    results = [
        EvalResult(
            task_type=task,
            dataset_type="custom",
            dataset_name="validation images",
            metric_type=name,
            metric_value=round(value, 5),
        )
        for name, value in figures.items()
        if task
    ]
    data = ModelCardData(
        license=license,
        library_name="convnext_dense",
        pipeline_tag=task,
        tags=["convnext", *([run.task] if run.task else [])],
        model_name=repo.split("/")[-1],
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n"


def _what(run: Training, classes: Sequence[str], ema: bool) -> str:
    backbone = (run.config.get("model") or {}).get("backbone") or {}
    network = " ".join(str(backbone[key]) for key in ("type", "arch") if backbone.get(key))
    weights = " The weights are the moving average (EMA) of the training's." if ema else ""
    return (
        f"A {KINDS.get(run.task, 'model')} of {len(classes)} classes with the backbone {network}, "
        f"trained with convnext_dense {run.env.get('convnext_dense', __version__)} from the config "
        f"`{run.config_name}`.{weights}"
    )


def _use(repo: str) -> str:
    return f"""## Use

```python
import convnext_dense as cd

model = cd.load("hf:{repo}")
for result in model.predict("image.jpg"):
    print(result.to_dict())
```

Weights are safetensors and the config is plain YAML: loading them executes nothing."""


def _figures(run: Training, figures: Mapping[str, float], iteration: int | None) -> str:
    if not run.metrics:
        return "## Figures\n\nThese weights were not evaluated."
    rows = [(name, f"{value:.4f}") for name, value in figures.items()]
    text = "## Figures\n\nOf the last validation"
    at = [f"{key} {run.metrics[key]}" for key in ("epoch", "iter") if key in run.metrics]
    text += f" ({', '.join(at)})." if at else "."
    if iteration is not None and run.metrics.get("iter", iteration) != iteration:
        text += f" The weights are those of iteration {iteration}, which has other figures."
    text += "\n\n"
    text += _table(("figure", "value"), rows)
    per_class = run.metrics.get("per_class") or {}
    if per_class:
        names = list(next(iter(per_class.values())))
        best = run.metrics.get("best_thresholds") or {}
        rows = [
            (
                name,
                *(_number(row.get(figure)) for figure in names),
                *([_number((best.get(name) or {}).get("threshold"))] if best else []),
            )
            for name, row in per_class.items()
        ]
        text += "\n\n" + _table(("class", *names, *(["best threshold"] if best else [])), rows)
    return text


def _data(classes: Sequence[str], facts: DataFacts) -> str:
    text = f"## Data\n\nClasses: {', '.join(classes)}."
    if facts.note:
        return f"{text}\n\nThere are no counts of the training images: {facts.note}."
    images = ", ".join(f"{count:,} ({split})" for split, count in facts.images.items())
    text += f"\n\nImages: {images}."
    if facts.counts is not None:
        total = sum(facts.counts.counts.values()) or 1
        rows = [
            (name, f"{count / total:.1%}" if facts.counts.as_shares else f"{count:,}")
            for name, count in facts.counts.counts.items()
        ]
        text += "\n\n" + _table(("class", facts.counts.what), rows)
    return text


def _settings(run: Training) -> Rows:
    rows = [(name, value) for name, value in configuration(run) if name not in OF_THIS_MACHINE]
    speed = throughput(run)
    if "images_per_s" in speed:
        rows.append(("images per second", f"{speed['images_per_s']:.1f}"))
    known = {name for name, _ in rows}
    environment = [(key, str(run.env[key])) for key in SHOWN_ENV if run.env.get(key)]
    return rows + [row for row in environment if row[0] not in known]


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )
