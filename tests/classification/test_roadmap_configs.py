"""Every step's config: its network, and the recipe of table 5 without averaged weights."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from convnext_dense.classification import ImageClassifier
from convnext_dense.classification.load_trained import open_classifier
from convnext_dense.config.load import load_config
from convnext_dense.models.roadmap.network import REGIMES, ConvNeXtRoadmapClassifier
from convnext_dense.models.roadmap.steps import design_at
from convnext_dense.paper.roadmap.costs import config_name

FOLDER = Path(__file__).parents[2] / "configs/classification/roadmap"
ROWS = [(regime, step.name) for regime, route in REGIMES.items() for step in route.steps]
DROP_PATH = {"resnet50": 0.1, "resnet200": 0.5}  # table 5: ConvNeXt-T and -B


def read(regime: str, step: str) -> Config:
    return Config.fromfile(FOLDER / f"{config_name(regime, step)}.py")


def test_every_row_has_a_config_and_no_other_is_there():
    assert {path.stem for path in FOLDER.glob("*.py")} == {config_name(*row) for row in ROWS}


@pytest.mark.parametrize("regime", REGIMES)
def test_all_steps_but_the_first_share_the_recipe(regime):
    twin = Config.fromfile(FOLDER.parent / "convnext_t_in1k_300e.py")
    for step in (step.name for step in REGIMES[regime].steps[1:]):
        cfg = read(regime, step)
        backbone = cfg.model.pop("backbone").to_dict()
        assert backbone == dict(
            type="ConvNeXtRoadmapClassifier",
            regime=regime,
            step=step,
            drop_path_rate=DROP_PATH[regime],
        )
        assert REGIMES[regime].drop_path_rate == DROP_PATH[regime]
        for key in ("optim_wrapper", "param_scheduler", "train_cfg", "train_dataloader",
                    "val_dataloader", "auto_scale_lr"):  # fmt: skip
            assert cfg[key] == twin[key], (step, key)
        assert cfg.model.data_preprocessor == twin.model.data_preprocessor
        hooks = {hook.type for hook in twin.custom_hooks} - {hook.type for hook in cfg.custom_hooks}
        assert hooks == {"WeightAverageHook"}


def test_the_first_row_is_trained_as_resnets_were():
    for regime in REGIMES:
        cfg = read(regime, "resnet")
        assert cfg.optim_wrapper.optimizer == dict(
            type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4
        )
        assert cfg.model.data_preprocessor == dict(type="ClassificationPreprocessor")
        assert (cfg.train_cfg.max_epochs, cfg.param_scheduler.milestones) == (90, [30, 60])
        assert cfg.model.backbone == dict(
            type="ConvNeXtRoadmapClassifier", regime=regime, step="resnet"
        )


@pytest.mark.parametrize("step", ["resnet", "kernel_size_9", "separate_downsampling"])
def test_the_engine_builds_a_classifier_that_learns(step):
    cfg = load_config(
        FOLDER / f"{config_name('resnet50', step)}.py",
        cfg_options={"model.backbone.switches": dict(stage_ratio=(1, 1, 1, 1), width=8)},
    )
    cfg.model.backbone.num_classes = 4
    model = MODELS.build(cfg.model)
    assert isinstance(model, ImageClassifier)
    assert isinstance(model.backbone, ConvNeXtRoadmapClassifier)
    assert model.backbone.design == design_at("resnet50", step).changed(
        dict(stage_ratio=(1, 1, 1, 1), width=8)
    )
    data = dict(
        inputs=torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8),
        targets=torch.tensor([0, 1, 2, 3]),
        paths=list("abcd"),
    )
    model.train()
    batch = model.data_preprocessor(data, training=True)
    model(**batch, mode="loss")["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())
    rows = model.eval()(**model.data_preprocessor(data), mode="predict")
    assert len(rows) == 4 and rows[0]["logits"].shape == (4,)


def test_a_trained_step_is_evaluated_like_any_classifier(tmp_path):
    cfg = read("resnet50", "fewer_norms")
    cfg.model.backbone.update(switches=dict(stage_ratio=(1, 1, 1, 1), width=8), num_classes=3)
    torch.manual_seed(0)
    network = MODELS.build(cfg.model.backbone)
    network(torch.randn(4, 3, 32, 32))  # statistics of its own
    state = {f"backbone.{name}": value for name, value in network.eval().state_dict().items()}
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=("ant", "bee", "cat")))
    torch.save(dict(meta=meta, state_dict=state), tmp_path / "epoch_1.pth")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(open_classifier(tmp_path / "epoch_1.pth").network(x), network(x))
