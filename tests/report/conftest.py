"""Tiny work folders, as runs leave them, and a reader of the page."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Tags with their attributes, the text, and the rows of tables of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if self._open and self._open[-1] == "style":
            return
        self.words.append(data)
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def cells(self, name: str) -> list[list[str]]:
        """The rows that open with ``name``."""
        rows = [[cell.strip() for cell in row] for row in self.rows]
        return [row for row in rows if row and row[0] == name]


def write_training(
    folder: Path, scope: str = "mmengine", epochs: int = 2, losses=(2.0, 1.5, 1.0, 0.5), **more
) -> Path:
    """A training of two epochs of two logged iterations each, evaluated after both."""
    log = folder / "20260101_000000" / "vis_data"
    log.mkdir(parents=True)
    config = dict(
        default_scope=scope,
        model=dict(backbone=dict(type="ConvNeXt", arch="atto")),
        train_dataloader=dict(batch_size=8),
        train_cfg=dict(max_epochs=epochs),
        **more,
    )
    write_config(folder / "tiny.py", config)
    (folder / "env.json").write_text(json.dumps({"torch": "2", "command": ["train.py", "a b"]}))
    (folder / "lr_groups.csv").write_text(
        "group,parameters,num_elements,lr_scale,lr,weight_decay\n"
        "layer_0_decay,1,10,0.5,0.05,0.1\nlayer_0_no_decay,1,2,0.5,0.05,0.0\n"
        "layer_1_decay,1,10,1.0,0.1,0.1\n"
    )
    rows = []
    for number, loss in enumerate(losses):
        time = dict(time=0.25 if number else 9.0, data_time=0.05, memory=100 + number)
        step = dict(iter=number + 1, step=number + 1, epoch=number // 2 + 1)
        rows.append(dict(loss=loss, lr=0.1, min_lr=0.05, max_lr=0.1, **time, **step))
    rows.insert(2, {"cls/top1": 0.25, "step": 1})
    rows.append({"cls/top1": 0.5, "step": 2})
    (log / "scalars.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    figures = {"top1": 0.5123, "per_class": {"cat": {"top1": 0.75}}, "epoch": 2, "iter": 4}
    (folder / "metrics.json").write_text(json.dumps(figures))
    return folder


def write_config(path: Path, config: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name} = {value!r}\n" for name, value in config.items()))


def write_test(folder: Path, config: dict, metrics: dict, results: list | None) -> Path:
    """The folder of a test of ``checkpoint``."""
    out = folder / "results.json"
    write_config(folder / "tiny.py", {**config, "test_evaluator": dict(outfile=str(out))})
    (folder / "metrics.json").write_text(json.dumps({"checkpoint": "x.pth", **metrics}))
    if results is not None:
        out.write_text(json.dumps(results))
    return folder


def write_picture(path: Path, seed: int = 0, size=(24, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def render():
    """Makes the page of some folders and reads it."""
    from convnext_dense.report.page import render
    from convnext_dense.runs.saved_runs import read_runs

    return lambda *folders: Page(render(read_runs(list(folders)), ROOT / "configs"))
