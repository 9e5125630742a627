"""Where heads of mmdet's detectors count classes and predict masks, against mmdet's own configs."""

from copy import deepcopy
from pathlib import Path

import mmdet
import mmseg
import pytest
from mmengine.config import Config, ConfigDict

from convnext_dense.config.config_tree import walk
from convnext_dense.data.coco.mask_branch import (
    drop_mask_branch,
    predicts_masks,
    read_what_is_predicted,
)
from convnext_dense.data.head_classes import (
    assume_num_classes,
    check_head_weights,
    set_num_classes,
)
from convnext_dense.errors import UserError
from tests.miniature import CONFIGS

STOCK = Path(mmdet.__file__).parent / ".mim/configs"
COUNTS = ("num_classes", "num_things_classes", "num_stuff_classes")
# One config of each family whose classes are COCO's 80, with the heads that count them.
FAMILIES = {
    "retinanet/retinanet_r50_fpn_1x_coco": 1,
    "rtmdet/rtmdet-ins_tiny_8xb32-300e_coco": 1,
    "dino/dino-4scale_r50_8xb2-12e_coco": 1,
    "detr/detr_r50_8xb2-150e_coco": 1,
    "solov2/solov2_r50_fpn_1x_coco": 1,
    "yolact/yolact_r50_1xb8-55e_coco": 2,
    "condinst/condinst_r50_fpn_ms-poly-90k_coco_instance": 1,
    "mask2former/mask2former_r50_8xb2-lsj-50e_coco": 2,
    "ms_rcnn/ms-rcnn_r50-caffe_fpn_1x_coco": 3,
    "point_rend/point-rend_r50-caffe_fpn_ms-1x_coco": 3,
    "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco": 4,
    "htc/htc_r50_fpn_1x_coco": 6,
    "scnet/scnet_r50_fpn_1x_coco": 5,
    "grid_rcnn/grid-rcnn_r50_fpn_gn-head_2x_coco": 1,
    "sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco": 6,
    "queryinst/queryinst_r50_fpn_1x_coco": 12,
    "soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco": 1,
}


def model_of(name: str, **others) -> Config:
    return Config(dict(model=Config.fromfile(f"{STOCK}/{name}.py").model, **others))


def numbers(node, path="") -> dict[str, int]:
    """Every number of classes of a model's heads, by its place."""
    if isinstance(node, dict):
        found = {f"{path}.{key}": node[key] for key in COUNTS if key in node}
        pairs = node.items()
    elif isinstance(node, list | tuple):
        found, pairs = {}, enumerate(node)
    else:
        return {}
    for key, value in pairs:
        found |= numbers(value, f"{path}.{key}")
    return found


def without_numbers(node) -> None:
    for value in list(node.values()) if isinstance(node, dict) else node:
        if isinstance(value, dict | list | tuple):
            without_numbers(value)
    if isinstance(node, dict) and not str(node.get("type")).endswith("SemanticHead"):
        for key in COUNTS:
            node.pop(key, None)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_heads_of_each_family_are_fitted_as_its_config_states_them(name):
    cfg = model_of(name)
    stated = numbers(cfg.model)
    assert (
        sum(key.rpartition(".")[2] != "num_stuff_classes" for key in stated)
        - ("semantic_head" in str(stated))
        == FAMILIES[name]
    )
    without_numbers(cfg.model)
    set_num_classes(cfg.model, 80, "the test")
    assert numbers(cfg.model) == stated


def test_a_number_that_is_fixed_is_compared():
    with pytest.raises(UserError, match=r"model\.bbox_head is built for 80 classes but x gives 3"):
        set_num_classes(model_of("dino/dino-4scale_r50_8xb2-12e_coco").model, 3, "x")
    panoptic = model_of("mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic")
    with pytest.raises(UserError, match="is built for 53 stuff classes but x gives 0"):
        set_num_classes(panoptic.model, 80, "x")


@pytest.mark.parametrize(
    "name",
    [
        "panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco",
        "maskformer/maskformer_r50_ms-16xb1-75e_coco",
        "mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic",
    ],
)
def test_things_and_stuff_are_counted_as_mmdets_configs_state_them(name):
    cfg = model_of(name)
    stated, weights = numbers(cfg.model), class_weights(cfg.model)
    assert {53, 80} <= set(stated.values()) and len(weights) == (not name.startswith("pano"))
    for weight in weights:
        weight[1:-1] = []  # left are that of every class, and that of "no object"
    without_numbers(cfg.model)
    set_num_classes(cfg.model, 80, "the test", stuff=53)
    assert numbers(cfg.model) == stated
    assert [len(weight) for weight in class_weights(cfg.model)] == [134] * len(weights)


def class_weights(model) -> list[list[float]]:
    heads = [(head.get("loss_cls") or {}).get("class_weight") for head in walk(model)]
    return [weights for weights in heads if weights is not None]


def test_a_head_of_stuff_needs_stuff():
    cfg = model_of("panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco")
    without_numbers(cfg.model)
    with pytest.raises(UserError, match=r"semantic_head \(PanopticFPNHead\) learns stuff, and x"):
        set_num_classes(cfg.model, 80, "x")


def test_a_segmentor_without_a_part_named_backbone_is_looked_into():
    configs = Path(mmseg.__file__).parent / ".mim/configs"
    model = Config.fromfile(configs / "san/san-vit-b16_coco-stuff164k-640x640.py").model
    model.decode_head.pop("num_classes")
    set_num_classes(model, 7, "x")
    assert model.decode_head.num_classes == 7


def test_a_head_that_nobody_knows_is_refused_by_its_key():
    cfg = model_of("retinanet/retinanet_r50_fpn_1x_coco")
    cfg.model.odd_head = ConfigDict(type="OddHead")
    cfg.model.bbox_head.pop("num_classes")
    with pytest.raises(UserError, match=r"model\.odd_head \(OddHead\) is a head whose number"):
        set_num_classes(cfg.model, 3, "x")
    cfg.model.odd_head.num_classes = 4
    with pytest.raises(UserError, match=r"model\.odd_head is built for 4 classes"):
        set_num_classes(cfg.model, 3, "x")


def recipe(name: str) -> Config:
    return Config.fromfile(CONFIGS / f"heads/{name}_convnext_a_shapes.py")


def test_mask2former_has_a_weight_for_every_class():
    cfg = recipe("mask2former_instance")
    set_num_classes(cfg.model, 3, "x")
    assert cfg.model.panoptic_head.loss_cls.class_weight == [1.0, 1.0, 1.0, 0.1]
    again = deepcopy(cfg)  # as a resumed run has it
    set_num_classes(again.model, 3, "x")
    check_head_weights(again.model, ("a", "b", "c"))
    assert again.model == cfg.model
    with pytest.raises(
        UserError, match="model.panoptic_head has a class_weight of 4 numbers for 2"
    ):
        check_head_weights(cfg.model, ("a", "b"))


@pytest.mark.parametrize("name", ["rtmdet", "dino", "mask2former_instance"])
def test_without_data_heads_have_the_classes_of_coco(name):
    cfg = recipe(name)
    assume_num_classes(cfg.model, 80)
    found = {v for k, v in numbers(cfg.model).items() if not k.endswith("stuff_classes")}
    assert found == {80}


def test_rtmdet_ins_becomes_rtmdet_where_there_are_no_masks():
    cfg = recipe("rtmdet_ins")
    assert predicts_masks(cfg.model)
    drop_mask_branch(cfg)
    assert not predicts_masks(cfg.model)
    assert cfg.model.bbox_head == recipe("rtmdet").model.bbox_head
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert not steps["LoadAnnotations"].with_mask and cfg.val_evaluator.metric == ["bbox"]


def test_a_model_of_masks_alone_is_refused_on_boxes():
    with pytest.raises(
        UserError, match=r"model\.panoptic_head learns from masks, .* or --boxes leaves them out"
    ):
        drop_mask_branch(recipe("mask2former_instance"))
    with pytest.raises(UserError, match=r"model\.mask_head learns from masks"):
        loader = dict(dataset=dict(pipeline=[dict(type="LoadAnnotations", with_mask=True)]))
        drop_mask_branch(model_of("solov2/solov2_r50_fpn_1x_coco", train_dataloader=loader))


def test_a_detector_of_boxes_reads_no_masks_unless_it_mixes_by_them():
    for mixes in (False, True):
        cfg = recipe("dino")
        cfg.custom_hooks.append(  # mmdet's, with a pipeline for the last epochs
            ConfigDict(
                type="PipelineSwitchHook",
                switch_pipeline=[dict(type="LoadAnnotations", with_bbox=True, with_mask=True)],
            )
        )
        if mixes:
            cfg.train_dataloader.dataset.pipeline.insert(2, dict(type="PasteObjects"))
        read_what_is_predicted(cfg)
        assert cfg.train_dataloader.dataset.pipeline[1].with_mask is mixes
        assert cfg.custom_hooks[-1].switch_pipeline[0].with_mask is mixes
        assert cfg.val_evaluator.metric == ["bbox"]
