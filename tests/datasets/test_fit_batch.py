"""The batch of a classifier on fewer images of its own than the recipe's batch."""

import json

import pytest
from mmengine.config import Config

from convnext_dense.data import fit_batch as fitting
from tests.classification.conftest import TINY, draw
from tests.running import run


@pytest.mark.parametrize(
    ("images", "processes", "expected"),
    [(12, 1, 12), (13, 1, 12), (16, 1, 16), (40, 1, 16), (40, 4, 10), (1, 1, 1), (3, 1, 2)],
)
def test_the_batch_is_at_most_an_epoch(monkeypatch, images, processes, expected):
    monkeypatch.setattr(fitting, "build_dataset", lambda cfg, dataset: range(images))
    loader = dict(
        dataset={}, batch_size=16, drop_last=True, sampler=dict(type="ImageSampler", step_size=16)
    )
    cfg = Config(dict(train_dataloader=loader, optim_wrapper=dict(accumulative_counts=1)))
    assert fitting.fit_batch(cfg, processes) == images
    assert cfg.train_dataloader.batch_size == cfg.train_dataloader.sampler.step_size == expected


@pytest.mark.slow
def test_few_images_are_trained_on(tmp_path):
    draw(tmp_path / "train", 1, classes=("ant", "bee"))
    draw(tmp_path / "val", 1, classes=("ant", "bee"))
    (tmp_path / "tiny.py").write_text(TINY)
    words = ("tiny.py", "--train-data", "train", "--val-data", "val", "--work-dir", "run")
    out = run("pretrain_cls", *words, "--max-iters", 1, cwd=tmp_path)
    assert (
        "-> 2: the 2 training images are fewer than a batch of the recipe. The learning rate stays"
        in " ".join(out.split())
    )
    assert json.loads((tmp_path / "run/metrics.json").read_text())["pictures"] == 2
