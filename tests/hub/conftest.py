"""A work folder as a training leaves it, and a Hub in this process."""

import copy
import json

import huggingface_hub
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from convnext_dense.data.fit import load_fitted_config
from tests.hub.endpoint import serving
from tests.miniature import SHAPES

CLASSES = ("circle", "square", "triangle", "star", "ring", "cross")
PALETTE = [(10 * i, 20, 30) for i in range(len(CLASSES))]


@pytest.fixture(scope="session")
def fitted(data_root, options):
    """The config of a run on the miniature."""
    return load_fitted_config(SHAPES, data_root=data_root, cfg_options=options)


@pytest.fixture(scope="session")
def trained(fitted, tmp_path_factory):
    """The work folder ``birds``; of its model there are two small tensors."""
    folder = tmp_path_factory.mktemp("runs") / "birds"
    state = {"backbone.a": torch.rand(3, 4), "neck.b": torch.rand(2)}
    return write_run(folder, fitted, state)


@pytest.fixture(scope="session")
def whole(fitted, tmp_path_factory):
    """A work folder with all of the model."""
    init_default_scope("mmdet")
    torch.manual_seed(0)
    state = MODELS.build(fitted.model).state_dict()
    return write_run(tmp_path_factory.mktemp("runs") / "whole", fitted, state)


def write_run(folder, fitted, state):
    """Writes a checkpoint, the config, ``metrics.json`` and ``env.json``."""
    folder.mkdir()
    cfg = copy.deepcopy(fitted)
    cfg.work_dir, cfg.load_from = str(folder), str(folder / "start.pth")
    cfg.visualizer.vis_backends = [dict(type="WandbTracker", init_kwargs=dict(entity="secret"))]
    meta = dict(
        cfg=cfg.pretty_text,
        iter=2,
        epoch=1,
        dataset_meta=dict(classes=CLASSES, palette=PALETTE),
        best_thresholds={"circle": {"threshold": 0.4, "f1": 0.5}},
    )
    average = {name: value + 1 for name, value in list(state.items())[:2]}
    content = dict(state_dict=state, state_dict_ema=average, meta=meta)
    torch.save(content, folder / "iter_2.pth")
    (folder / "cascade_convnext_a_shapes.py").write_text(cfg.pretty_text)
    metrics = {
        "bbox_mAP": 0.1234,
        "per_class": {name: {"bbox_mAP": 0.5} for name in CLASSES},
        "iter": 2,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "env.json").write_text(json.dumps({"convnext_dense": "9.9", "device": "an abacus"}))
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub that huggingface_hub speaks to, with a token and an empty cache."""
    with serving() as hub:
        use_endpoint(monkeypatch, hub.address)
        cache = str(tmp_path / "cache")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", cache)
        monkeypatch.setenv("HF_TOKEN", "hf_a_token")
        yield hub


def use_endpoint(monkeypatch, address: str) -> None:
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", address)
