"""The figure by which the best checkpoint is kept: names, nearest names, files."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from convnext_dense.classification import metric as classification
from convnext_dense.detection.coco_metric import CocoInstanceMetric
from convnext_dense.engine import build_runner
from convnext_dense.errors import UserError
from convnext_dense.finetune.best_checkpoint import find_figure, known_figures, rule_of, save_best
from convnext_dense.segmentation import mean_iou
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import BEST_THRESHOLDS
from tests.running import run

SEGMENTATION = dict(default_scope="mmseg", val_evaluator=dict(type="MeanIoUMetric"))
DETECTION = dict(default_scope="mmdet", val_evaluator=dict(type="CocoInstanceMetric"))


class _Record(Hook):
    """Notes the loss of each evaluation."""

    def __init__(self, losses: list[float]) -> None:
        self.losses = losses

    def after_val_epoch(self, runner, metrics=None) -> None:
        self.losses.append(metrics["cls/loss"])


class _Thresholds(Hook):
    """A detector's evaluation."""

    def after_val_epoch(self, runner, metrics=None) -> None:
        runner.message_hub.update_info(BEST_THRESHOLDS, dict(ant=0.5))


def config(task: dict, **others) -> Config:
    shared = dict(
        val_dataloader=dict(dataset={}),
        val_cfg=dict(type="ValLoop"),
        model=dict(backbone=dict(type="ConvNeXt")),
        default_hooks=dict(checkpoint=dict(type="WholeCheckpointHook")),
    )
    return Config({**shared, **task, **others})


@pytest.mark.parametrize("settings", [{}, dict(metric="segm"), dict(max_dets=300)])
def test_names_of_detection_are_those_of_its_metric(settings, tmp_path):
    truth = dict(
        images=[dict(id=1, width=9, height=9)],
        categories=[dict(id=1, name="a")],
        annotations=[
            dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 4, 4], area=16, iscrowd=0,
                 segmentation=[[1, 1, 5, 1, 5, 5, 1, 5]])
        ],
    )  # fmt: skip
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    metric = CocoInstanceMetric(str(tmp_path / "truth.json"), **settings)
    metric.dataset_meta = dict(classes=("a",))
    empty = dict(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0).long())
    metric.process({}, [dict(img_id=1, pred_instances=dict(empty, masks=[]))])
    figures = metric.evaluate(1)
    names = known_figures(
        config({**DETECTION, "val_evaluator": dict(type="CocoInstanceMetric", **settings)})
    )
    assert set(names) == set(figures)
    assert names[0] == ("coco/segm_mAP" if settings.get("metric") else "coco/bbox_mAP")


def test_names_of_segmentation_are_those_of_its_metric():
    figures = mean_iou.summary(torch.ones(3, 2))
    assert known_figures(config(SEGMENTATION)) == [f"seg/{name}" for name in figures]


@pytest.mark.parametrize("classes", [3, 5, 6, 1000])
def test_names_of_classification_are_those_of_its_metric(classes):
    task = dict(default_scope="mmengine", val_evaluator=dict(type="ClassificationMetric"))
    model = dict(backbone=dict(type="ConvNeXtClassifier", num_classes=classes))
    figures = classification.summary(torch.ones(2, classes), torch.ones(2))
    plain = [f"cls/{name}" for name in figures if name != "pictures"]
    assert known_figures(config(task, model=model)) == plain
    both = dict(
        val_cfg=dict(type="BothWeightsValLoop"), custom_hooks=[dict(type="WeightAverageHook")]
    )
    names = known_figures(config(task, model=model, **both))
    assert names == [*plain, *(f"{name}_ema" for name in plain)]


@pytest.mark.parametrize(
    ("task", "asked", "name"),
    [
        (DETECTION, "auto", "coco/bbox_mAP"),
        (DETECTION, "segm_mAP_50", "coco/segm_mAP_50"),
        (DETECTION, "coco/bbox_mAP_s", "coco/bbox_mAP_s"),
        (SEGMENTATION, "auto", "seg/mIoU"),
        (
            {**SEGMENTATION, "val_evaluator": dict(type="MeanIoUMetric", prefix="x")},
            "aAcc",
            "x/aAcc",
        ),
    ],
)
def test_a_figure_is_found_with_and_without_its_prefix(task, asked, name):
    cfg = config(task)
    save_best(cfg, asked)
    assert cfg.default_hooks.checkpoint.save_best == name
    assert cfg.default_hooks.checkpoint.rule == "greater"


def test_a_wrong_figure_names_the_nearest():
    with pytest.raises(UserError, match=r"--save-best bbox_map50: .* nearest are bbox_mAP_50,"):
        find_figure(config(DETECTION), "bbox_map50")
    with pytest.raises(UserError, match="nearest are mIoU"):
        find_figure(config(SEGMENTATION), "miou")
    with pytest.raises(UserError, match="no validation data"):
        find_figure(config(SEGMENTATION, val_dataloader=None), "auto")


def test_the_configs_own_figure_stays_unless_another_is_named():
    hooks = dict(checkpoint=dict(save_best="seg/aAcc", rule="greater"))
    cfg = config(SEGMENTATION, default_hooks=hooks)
    save_best(cfg, "auto")
    assert cfg.default_hooks.checkpoint.save_best == "seg/aAcc"
    save_best(cfg, "mIoU")
    assert cfg.default_hooks.checkpoint.save_best == "seg/mIoU"


def test_a_lower_loss_is_better():
    assert [rule_of(name) for name in ("cls/loss", "cls/loss_ema", "cls/top1")] == [
        "less", "less", "greater"
    ]  # fmt: skip


def test_another_librarys_metric_is_taken_at_its_word():
    cfg = config({**DETECTION, "val_evaluator": dict(type="CocoMetric")})
    assert find_figure(cfg, "coco/bbox_mAP") == "coco/bbox_mAP"
    with pytest.raises(UserError, match="CocoMetric are not known before the run"):
        find_figure(cfg, "auto")


def test_the_best_by_the_loss_is_the_one_with_the_lowest(settle, tmp_path):
    settled = settle(save_best="loss")
    settled.cfg.train_cfg.max_epochs = 3
    runner = build_runner(settled.cfg)
    losses = []
    runner.register_hook(_Record(losses))
    runner.train()
    (best,) = (tmp_path / "run").glob("best_*.pth")
    assert best.name == f"best_cls_loss_epoch_{losses.index(min(losses)) + 1}.pth"


def test_a_figure_that_an_evaluation_lacks_is_one_sentence(settle):
    settled = settle(save_best="top1")
    settled.cfg.default_hooks.checkpoint.save_best = "cls/top5"  # two classes have no top 5
    with pytest.raises(UserError, match="no figure cls/top5 .*: the evaluation has cls/top1"):
        build_runner(settled.cfg).train()


def test_thresholds_are_noted_in_a_newest_checkpoint_that_counts_iterations(settle, tmp_path):
    """The best checkpoint has the newest one written again, after the evaluation."""
    settled = settle(save_best="top1")
    settled.cfg.default_hooks.checkpoint.update(by_epoch=False, interval=4)
    settled.cfg.train_cfg.max_epochs = 1
    runner = build_runner(settled.cfg)
    runner.register_hook(_Thresholds(), priority="NORMAL")
    runner.train()
    for name in ("iter_4.pth", "best_cls_top1_iter_4.pth"):
        assert read_checkpoint(tmp_path / "run" / name)["meta"][BEST_THRESHOLDS] == dict(ant=0.5)


def test_the_command_refuses_before_the_first_step(settle, class_root, tmp_path):
    settle()  # writes the config
    words = ("tiny.py", "--save-best", "top11", "--data-root", class_root, "--work-dir", "out")
    out = run("pretrain_cls", *words, code=2, cwd=tmp_path)
    assert "--save-best top11: the evaluation has no such figure; the nearest are top1" in out
    assert not (tmp_path / "out").exists()
