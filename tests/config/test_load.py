"""What the engine settles before anything is built, and what it refuses."""

import ast
import json
import sys
from copy import deepcopy

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from convnext_dense.config.config_tree import walk
from convnext_dense.config.load import load_config
from convnext_dense.config.names import shipped_configs
from convnext_dense.config.options import merge_options, parse_options
from convnext_dense.config.plain import format_python
from convnext_dense.config.reading import read_config
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.errors import UserError
from tests.miniature import COCO, CONFIGS, SHAPES

CLASSES = ("circle", "square", "triangle", "star", "ring", "cross")


def load(data_root, options, **kwargs) -> Config:
    return load_fitted_config(SHAPES, data_root=data_root, cfg_options=dict(options), **kwargs)


def heads(cfg) -> list:
    roi_head = cfg.model.roi_head
    return [*roi_head.bbox_head, roi_head.mask_head]


def annotations(data_root, tmp_path, change) -> dict:
    """cfg_options for a changed copy of the training annotations."""
    content = json.loads((data_root / "mini/annotations/instances_train.json").read_text())
    change(content)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content))
    return {"train_dataloader.dataset.ann_file": str(path)}


def test_classes_come_from_the_annotation_file(data_root, options):
    cfg = load(data_root, options)
    assert set(cfg.train_dataloader.dataset.metainfo.classes) == set(CLASSES)
    assert [head.num_classes for head in heads(cfg)] == [6] * 4
    assert cfg.val_evaluator.ann_file == str(data_root / "mini/annotations/instances_val.json")


def test_data_root_flag_beats_variable_beats_default(options, data_root, monkeypatch, tmp_path):
    paths = {}
    for name, variable, flag in (
        ("default", None, None),
        ("variable", "/somewhere", None),
        ("flag", "/somewhere", tmp_path),
    ):
        monkeypatch.delenv("CONVNEXT_DENSE_DATA", raising=False)
        if variable:
            monkeypatch.setenv("CONVNEXT_DENSE_DATA", variable)
        cfg = load_config(COCO, data_root=flag)
        paths[name] = cfg.train_dataloader.dataset.data_root
    assert paths == {
        "default": "data/coco",
        "variable": "/somewhere/coco",
        "flag": f"{tmp_path}/coco",
    }


def test_a_resolved_config_loads_again_and_moves(data_root, options, tmp_path):
    cfg = load(data_root, options)
    cfg.dump(tmp_path / "resolved.py")
    again = load_fitted_config(tmp_path / "resolved.py")
    assert again.train_dataloader.dataset == cfg.train_dataloader.dataset
    moved = load_config(tmp_path / "resolved.py", data_root="elsewhere")
    assert moved.train_dataloader.dataset.data_root == "elsewhere/mini"


def test_fixed_classes_are_put_into_the_files_order(data_root, options):
    options = {**options, "train_dataloader.dataset.metainfo.classes": ("star", "circle")}
    cfg = load(data_root, options)
    assert cfg.val_dataloader.dataset.metainfo.classes == ("circle", "star")
    assert heads(cfg)[0].num_classes == 2


def test_a_misspelt_class_is_named_with_the_nearest(data_root, options):
    options = {**options, "train_dataloader.dataset.metainfo.classes": ("cirkle",)}
    with pytest.raises(UserError, match="no class 'cirkle'; the nearest name is 'circle'"):
        load(data_root, options)


def test_a_head_of_another_size_is_refused(data_root, options):
    options = {**options, "model.roi_head.mask_head.num_classes": 80}
    with pytest.raises(UserError, match="mask_head is built for 80 classes but .* gives 6"):
        load(data_root, options)


def test_another_order_of_categories_is_refused(data_root, options, tmp_path):
    changed = annotations(data_root, tmp_path, lambda content: content["categories"].reverse())
    with pytest.raises(UserError, match="another order"):
        load(data_root, {**options, **changed})


def test_boxes_without_masks_drop_the_mask_branch(data_root, options, tmp_path):
    def drop(content):
        for annotation in content["annotations"]:
            del annotation["segmentation"]

    cfg = load(data_root, {**options, **annotations(data_root, tmp_path, drop)})
    assert "mask_head" not in cfg.model.roi_head
    assert "mask_roi_extractor" not in cfg.model.roi_head
    assert cfg.val_evaluator.metric == ["bbox"]
    loading = [step for step in walk(cfg.train_dataloader) if step.get("type") == "LoadAnnotations"]
    assert [step.with_mask for step in loading] == [False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [', "not complete JSON"),
        ("[]", "not a COCO file"),
        ('{"images": [], "annotations": []}', "not a COCO file"),
        ('{"images": [], "annotations": [], "categories": []}', "categories with distinct names"),
    ],
)
def test_bad_annotation_files_are_named(data_root, options, tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text)
    options = {**options, "train_dataloader.dataset.ann_file": str(path)}
    with pytest.raises(UserError, match=f"bad.json.*{message}"):
        load(data_root, options)


def test_masks_on_some_annotations_only_are_refused(data_root, options, tmp_path):
    def drop_one(content):
        content["annotations"][0]["segmentation"] = []

    with pytest.raises(UserError, match="changed.json: 1 of .* have no segmentation"):
        load(data_root, {**options, **annotations(data_root, tmp_path, drop_one)})


def test_nothing_to_train_on_is_refused(data_root, options, tmp_path):
    changed = annotations(data_root, tmp_path, lambda content: content["annotations"].clear())
    with pytest.raises(UserError, match="holds no instance"):
        load(data_root, {**options, **changed})


def test_missing_pictures_are_named(data_root, options, tmp_path):
    def rename(content):
        for image in content["images"][:2]:
            image["file_name"] = f"sub/gone_{image['id']}.jpg"

    changed = annotations(data_root, tmp_path, rename)
    with pytest.raises(UserError, match=r"2 of 10 images of .* are not in .*: sub/gone_1.jpg"):
        load(data_root, {**options, **changed})


def test_options_keep_the_spaces_of_paths():
    import argparse

    from convnext_dense.cli.shared import arguments

    parser = argparse.ArgumentParser()
    arguments.add_config_arguments(parser)
    text = ["a.path=my birds ü/", "b=3", "c=(1,2)", "d=None", "e='x y'", "f=[(1,2),(3,4)]"]
    options = parse_options(parser.parse_args(["c.py", "--cfg-options", *text]).cfg_options)
    assert options == {
        "a.path": "my birds ü/", "b": 3, "c": (1, 2), "d": None, "e": "x y", "f": [(1, 2), (3, 4)]
    }  # fmt: skip


@pytest.mark.parametrize(
    "text, value",
    [
        ("{'depths': [1, 2], 'dims': (8, 16)}", {"depths": [1, 2], "dims": (8, 16)}),
        ("[{'a': None}, {'b': [2]}]", [{"a": None}, {"b": [2]}]),
        ("runs/{name}", "runs/{name}"),
    ],
)
def test_options_hold_dicts(text, value):
    assert parse_options({"model.backbone.arch": text}) == {"model.backbone.arch": value}


def test_a_dict_takes_the_place_of_a_name():
    cfg = Config(dict(model=dict(arch="tiny", head=dict(a=1))))
    sizes = {"depths": [1, 2], "dims": [8, 16]}
    merge_options(cfg, {"model.arch": sizes, "model.head": {"b": 2}})
    assert cfg.model == dict(arch=sizes, head=dict(a=1, b=2))


@pytest.mark.parametrize("text", ["{depths: [1, 2]}", "{'depths': [1, 2]", "[[1, 2], 3"])
def test_an_option_that_is_no_value(text):
    with pytest.raises(UserError, match=r"model\.arch=.* is no value: close each bracket"):
        parse_options({"model.arch": text})


def test_a_name_means_one_config():
    files = [path for path in CONFIGS.parent.rglob("*.py") if "_base_" not in path.parts]
    assert len({path.stem for path in files}) == len(files) > 100


def test_missing_data_names_the_flag(tmp_path):
    with pytest.raises(UserError, match="instances_train2017.json: give the folder.*--data-root"):
        load_fitted_config(COCO, data_root=tmp_path)


def test_missing_config_and_wrong_options(tmp_path):
    with pytest.raises(UserError, match="There is no config file"):
        load_fitted_config(tmp_path / "nothing.py")
    (tmp_path / "broken.py").write_text("model = dict(\n")
    with pytest.raises(UserError, match="broken.py cannot be read"):
        load_fitted_config(tmp_path / "broken.py")


def test_weights_of_mmsegmentations_own_backbone_are_refused(tmp_path):
    words = "model.pretrained='open-mmlab://resnet50_v1c' names weights of another backbone: set "
    (tmp_path / "stock.py").write_text(
        '_base_ = "mmseg::pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py"'
    )
    stock = read_config(tmp_path / "stock.py")
    assert load_config(stock).model.pretrained == "open-mmlab://resnet50_v1c"
    stock.model.backbone = dict(type="ConvNeXt", arch="atto")
    with pytest.raises(UserError, match=words):
        load_config(stock)
    with pytest.raises(UserError, match=words), DefaultScope.overwrite_default_scope("mmseg"):
        MODELS.build(deepcopy(stock.model))  # as mmsegmentation's own tools do
    assert load_config(stock, cfg_options={"model.pretrained": None}).model.pretrained is None


def test_a_misspelt_option_is_named():
    with pytest.raises(UserError, match="has no 'modle'; the nearest is 'model'"):
        load_config(COCO, cfg_options={"modle.backbone.arch": "small"})


def test_a_missing_toolbox_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = r"needs mmdet.*run pip install 'convnext_dense\[detection\]'"
    with pytest.raises(UserError, match=message):
        load_config(COCO)


def test_precision_on_a_machine_without_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for amp in (None, "off", "bf16", "fp16"):
        wrapper = load_config(COCO, amp=amp).optim_wrapper
        assert wrapper.type == "OptimWrapper"
        assert "dtype" not in wrapper and "loss_scale" not in wrapper


def test_precision_on_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)
    found = {amp: load_config(COCO, amp=amp).optim_wrapper for amp in (None, "off", "bf16", "fp16")}
    assert found["off"].type == "OptimWrapper"
    assert found[None] == found["bf16"]
    assert found["bf16"].type == "AmpOptimWrapper" and found["bf16"].dtype == "bfloat16"
    assert found["fp16"].dtype == "float16" and found["fp16"].loss_scale == "dynamic"
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: False)
    assert load_config(COCO).optim_wrapper.type == "OptimWrapper"


def test_sync_bn_becomes_bn_in_one_process(monkeypatch):
    def norms(**kwargs):
        cfg = load_config(COCO, **kwargs)
        return {head.norm_cfg.type for head in cfg.model.roi_head.bbox_head}

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert norms() == {"BN"}
    assert norms(launcher="pytorch") == {"SyncBN"}
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert norms(launcher="pytorch") == {"BN"}


# name -> method, arch, drop path, lr, decay rate, epochs: recipes of the paper and its release
RECIPES = {
    "mask_rcnn_convnext_t_1x": ("MaskRCNN", "tiny", 0.4, 1e-4, 0.95, 12),
    "mask_rcnn_convnext_t_3x": ("MaskRCNN", "tiny", 0.4, 1e-4, 0.95, 36),
    "cascade_convnext_t_3x": ("CascadeRCNN", "tiny", 0.4, 2e-4, 0.7, 36),
    "cascade_convnext_s_3x": ("CascadeRCNN", "small", 0.6, 2e-4, 0.7, 36),
    "cascade_convnext_b_3x": ("CascadeRCNN", "base", 0.7, 2e-4, 0.8, 36),
    "cascade_convnext_b_in22k_3x": ("CascadeRCNN", "base", 0.6, 1e-4, 0.8, 36),
    "cascade_convnext_l_in22k_3x": ("CascadeRCNN", "large", 0.7, 1e-4, 0.7, 36),
    "cascade_convnext_xl_in22k_3x": ("CascadeRCNN", "xlarge", 0.8, 1e-4, 0.7, 36),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_the_papers(name):
    cfg = load_config(CONFIGS / f"{name}.py")
    wrapper, backbone = cfg.optim_wrapper, cfg.model.backbone
    assert RECIPES[name] == (
        cfg.model.type,
        backbone.arch,
        backbone.drop_path_rate,
        wrapper.optimizer.lr,
        wrapper.paramwise_cfg.decay_rate,
        cfg.train_cfg.max_epochs,
    )
    assert backbone.layer_scale_init_value == 1.0
    assert wrapper.paramwise_cfg.decay_type == "layer_wise"
    assert (wrapper.optimizer.weight_decay, wrapper.optimizer.betas) == (0.05, (0.9, 0.999))
    assert cfg.train_dataloader.batch_size == 2 and cfg.auto_scale_lr.base_batch_size == 16
    milestones = {12: [8, 11], 36: [27, 33]}[cfg.train_cfg.max_epochs]
    assert cfg.param_scheduler[1].milestones == milestones
    assert ("22k" in backbone.init_cfg.checkpoint) == ("in22k" in name)


@pytest.mark.parametrize("path", shipped_configs().values(), ids=lambda path: path.stem)
def test_leaf_configs_are_short(path):
    """At most 15 lines of settings after the docstring and the bases."""
    docstring, bases, *settings = ast.parse(path.read_text(encoding="utf-8")).body
    assert ast.get_docstring(ast.Module([docstring], [])) and bases.targets[0].id == "_base_"
    assert sum(node.end_lineno - node.lineno + 1 for node in settings) <= 15


def test_neither_pkg_resources_nor_distutils_is_needed(data_root, options, monkeypatch):
    for name in ("pkg_resources", "distutils"):
        monkeypatch.setitem(sys.modules, name, None)
    from convnext_dense.runs.work_folder import environment

    assert load(data_root, options).model.type == "CascadeRCNN"
    assert environment()["torch"]


def test_a_failing_import_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("class A(None): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    options = {"custom_imports.imports": ["broken_module"]}
    with pytest.raises(UserError, match="cannot be imported .TypeError: NoneType"):
        load_config(COCO, cfg_options=options)


def test_a_config_with_numbers_that_are_none_reads_again(tmp_path):
    text = Config(dict(a=float("nan"), b=dict(c=-float("inf")), d="nan inf", inf=1)).pretty_text
    path = tmp_path / "a.py"
    path.write_text(format_python(text))
    found = read_config(path)
    assert found.a != found.a and found.b.c == -float("inf") and found.d == "nan inf"
