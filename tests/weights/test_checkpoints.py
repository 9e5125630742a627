"""Checkpoints of whole models: old and new ones, stripped ones, those of other models."""

import numpy as np
import pytest
import torch
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.weights import convert, read_checkpoint
from convnext_dense.weights.checkpoints import (
    check_backbone,
    check_parts,
    compare,
    count_classes,
    has_masks,
    model_state,
    trained_classes,
)
from convnext_dense.weights.zoo import ZOO
from tests.weights.official_models import (
    MODELS,
    Sizes,
    cascade,
    mask_rcnn,
    old_checkpoint,
    random_values,
    save_old,
    spread,
    upernet,
)

NAMES = ("cat", "dog")
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize("name", MODELS)
def test_the_rule_has_as_many_parameters_as_the_release_states(name):
    shapes = MODELS[name].shapes
    total = sum(torch.Size(s).numel() for k, s in shapes.items() if not k.endswith(BUFFERS))
    assert round(total / 1e6) == MODELS[name].params_m


def test_every_official_model_has_its_rule():
    assert set(MODELS) == {name for name in ZOO if name.startswith(("coco/", "ade20k/"))}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("toolbox", ["mmdet", "mmseg"])
def test_old_files_are_read_safely_and_whole(tmp_path, toolbox, zipped):
    content = old_checkpoint(spread(cascade("atto")), NAMES, toolbox)
    # Entries by evaluation hooks of other mmcv versions.
    content["meta"]["hook_msgs"] = dict(best_score=np.float64(0.5), last_ckpt="epoch_36.pth")
    content["meta"]["PALETTE"] = np.zeros((2, 3), np.int64)
    found = read_checkpoint(save_old(tmp_path / "old.pth", content, zipped=zipped))
    assert {*found} == {"meta", "state_dict", "optimizer", "amp"}
    assert found["meta"]["hook_msgs"] == content["meta"]["hook_msgs"]
    assert found["meta"]["config"] == content["meta"]["config"]
    assert found["optimizer"]["param_groups"] == content["optimizer"]["param_groups"]
    assert trained_classes(found) == NAMES
    state = model_state(found)
    assert list(state) == list(content["state_dict"])
    assert all(torch.equal(state[name], v) for name, v in content["state_dict"].items())


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"dataset_meta": {"classes": ["a", "b"]}}, ("a", "b")),
        ({"CLASSES": ["a", "b"]}, ("a", "b")),
        ({"CLASSES": "person"}, ("person",)),
        ({"dataset_meta": {"classes": ("new",)}, "CLASSES": ("old",)}, ("new",)),
        ({"CLASSES": None, "dataset_meta": None}, None),
        (None, None),
    ],
)
def test_class_names_of_both_generations(meta, expected):
    assert trained_classes({"meta": meta, "state_dict": {}}) == expected
    assert trained_classes({"state_dict": {}}) is None


@pytest.mark.parametrize("key", ["state_dict", "model", ""])
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_parameters_are_found_wherever_files_keep_them(key, wrapper):
    state = random_values({"backbone.norm0.weight": (3,), "neck.bias": (2,)})
    wrapped = {wrapper + name: value for name, value in state.items()}
    found = model_state({key: wrapped, "epoch": 3} if key else {**wrapped, "epoch": 3})
    assert list(found) == list(state)


def test_openmmlabs_own_names_are_translated():
    state = random_values(mask_rcnn("atto", Sizes(2, channels=8, box_fc=4)))
    backbone = {k.removeprefix("backbone."): v for k, v in state.items() if "backbone" in k}
    theirs = convert(backbone, "mmpretrain").state_dict
    assert "backbone.stages.0.0.depthwise_conv.weight" in theirs
    others = {name: value for name, value in state.items() if "backbone" not in name}
    found = model_state({"state_dict": {**theirs, **others}})
    assert set(found) == set(state)
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_the_number_of_classes_of_heads():
    sizes = Sizes(5, channels=8, box_fc=4)
    for build in (mask_rcnn, cascade, upernet):
        checkpoint = {"state_dict": spread(build("atto", sizes))}
        assert count_classes(checkpoint) == 5
        assert has_masks(checkpoint) == (build is not upernet)
    assert count_classes({"state_dict": {"a": torch.ones(1)}}) is None


class Model(nn.Module):
    def __init__(self, width: int = 4):
        super().__init__()
        self.backbone = nn.Linear(2, width)
        self.head = nn.Linear(width, 3)


def test_compare_accounts_for_every_name():
    checkpoint = {"state_dict": Model().state_dict()}
    state, differences = compare(Model(), checkpoint)
    assert set(state) == set(Model().state_dict()) and differences == ""
    del checkpoint["state_dict"]["backbone.bias"]
    checkpoint["state_dict"]["head.bias"] = torch.ones(7)
    checkpoint["state_dict"]["neck.bias"] = torch.ones(7)
    state, differences = compare(Model(), checkpoint)
    assert set(state) == {"backbone.weight", "head.weight"}
    assert "1 missing (backbone.bias)" in differences
    assert "1 not in the model (neck.bias)" in differences
    assert "1 of another shape (head.bias (7,) for (3,))" in differences


def test_a_training_starts_from_its_own_backbone_only():
    checkpoint = {"state_dict": Model().state_dict()}
    checkpoint["state_dict"]["head.bias"] = torch.ones(7)
    check_backbone(Model(), checkpoint, "x.pth")
    with pytest.raises(UserError, match=r"x.pth does not hold .*2 of another shape"):
        check_backbone(Model(5), checkpoint, "x.pth")
    checkpoint["state_dict"]["backbone.extra"] = torch.ones(1)
    with pytest.raises(UserError, match=r"1 not in the model \(backbone.extra\)"):
        check_backbone(Model(), checkpoint, "x.pth")
    with pytest.raises(UserError, match="2 missing.*--backbone-weights"):
        check_backbone(Model(), {"model": {"stages.0.0.gamma": torch.ones(1)}}, "x.pth")


def test_another_kind_of_model_is_named():
    model = dict(type="X", backbone=dict(), neck=dict(), rpn_head=dict(), roi_head=dict())
    segmentor = {"state_dict": spread(upernet("atto"))}
    with pytest.raises(UserError, match="x.pth is .* another kind .*has auxiliary_head, backbone,"):
        check_parts(model, segmentor, "x.pth")
    with pytest.raises(UserError, match="the file has no parameters"):
        check_parts(model, {"epoch": 3}, "x.pth")
    check_parts(dict(model, auxiliary_head=None), {"state_dict": spread(cascade("atto"))}, "x.pth")
