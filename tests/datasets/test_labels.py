"""Segmentation configs: class names from one place, heads that follow, the paper's recipes."""

from pathlib import Path

import pytest

from convnext_dense.config.config_tree import walk
from convnext_dense.config.load import load_config
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.data.labels.fit_config import assume_label_classes, read_names
from convnext_dense.errors import UserError
from convnext_dense.segmentation.task import SegmentationTask

CONFIGS = Path(__file__).parents[2] / "configs/segmentation"
SHAPES = CONFIGS / "upernet_convnext_a_shapes.py"
ADE = CONFIGS / "upernet_convnext_t_512_160k.py"
NAMES = ("background", "circle", "square", "triangle", "star", "ring", "cross")
SPLITS = ("train", "val", "test")
MINI = {f"{split}_dataloader.dataset.data_root": "mini/" for split in SPLITS}


def load(data_root, options=None, **kwargs):
    return load_fitted_config(
        SHAPES, data_root=data_root, cfg_options={**MINI, **(options or {})}, **kwargs
    )


def classes_option(names, split="train") -> dict:
    return {f"{split}_dataloader.dataset.metainfo.classes": names}


@pytest.fixture
def ade_root(tmp_path):
    """ADE20K's folders with one empty file each."""
    for kind, suffix in (("images", ".jpg"), ("annotations", ".png")):
        for split in ("training", "validation"):
            folder = tmp_path / "ade/ADEChallengeData2016" / kind / split
            folder.mkdir(parents=True)
            (folder / f"1{suffix}").touch()
    return tmp_path


def test_classes_come_from_the_text_file(data_root):
    cfg = load(data_root)
    assert cfg.train_dataloader.dataset.metainfo.classes == NAMES
    assert cfg.test_dataloader.dataset.metainfo.classes == NAMES
    assert [cfg.model.decode_head.num_classes, cfg.model.auxiliary_head.num_classes] == [7, 7]
    steps = [
        n for s in SPLITS for n in walk(cfg[f"{s}_dataloader"]) if n.get("type") == "LoadLabels"
    ]
    assert [step.num_classes for step in steps] == [7, 7, 7]


def test_ade20k_brings_its_own_names(ade_root):
    cfg = load_fitted_config(ADE, data_root=ade_root)
    names = cfg.train_dataloader.dataset.metainfo.classes
    assert len(names) == 150 and names[0] == "wall" and names[-1] == "flag"
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 150


def test_own_names_in_ade20ks_layout(ade_root):
    options = {f"{split}_dataloader.dataset.type": "BaseSegDataset" for split in SPLITS}
    with pytest.raises(UserError, match="no class names .*classes.txt.*metainfo.classes="):
        load_fitted_config(ADE, data_root=ade_root, cfg_options=options)
    cfg = load_fitted_config(
        ADE, data_root=ade_root, cfg_options=options | classes_option(["sky", "road"])
    )
    assert cfg.val_dataloader.dataset.metainfo.classes == ("sky", "road")
    assert cfg.model.decode_head.num_classes == 2
    # a checkpoint knows its classes
    cfg = load_fitted_config(
        ADE, data_root=ade_root, cfg_options=options, splits=("test",), classes=("a", "b", "c")
    )
    assert cfg.model.decode_head.num_classes == 3


def test_some_of_ade20ks_classes_and_a_misspelt_one(ade_root):
    cfg = load_fitted_config(ADE, data_root=ade_root, cfg_options=classes_option(["sky", "wall"]))
    assert cfg.model.decode_head.num_classes == 2
    cfg = load_fitted_config(ADE, data_root=ade_root, splits=("test",), classes=("wall", "sky"))
    assert cfg.model.decode_head.num_classes == 2  # what a checkpoint was trained with
    with pytest.raises(UserError, match="ADE20KDataset has no class 'skky'; the nearest is 'sky'"):
        load_fitted_config(ADE, data_root=ade_root, cfg_options=classes_option(["skky"]))


def test_contradictions_are_refused(data_root):
    with pytest.raises(
        UserError, match="metainfo.classes gives .*a, b.*classes.txt gives .*circle"
    ):
        load(data_root, classes_option(["a", "b"]))
    with pytest.raises(UserError, match="trained for the classes a, b, but .*classes.txt"):
        load(data_root, classes=("a", "b"))
    with pytest.raises(UserError, match="decode_head is built for 150 classes but .* gives 7"):
        load(data_root, {"model.decode_head.num_classes": 150})


@pytest.mark.parametrize("names", [["a", "a"], ["a"], []])
def test_names_must_be_distinct(ade_root, names):
    options = {f"{split}_dataloader.dataset.type": "BaseSegDataset" for split in SPLITS}
    (ade_root / "ade/ADEChallengeData2016/classes.txt").write_text("\n".join(names))
    with pytest.raises(UserError, match="classes.txt must give 2 to 255 distinct class names"):
        load_fitted_config(ADE, data_root=ade_root, cfg_options=options)


def test_a_file_of_windows_has_the_same_names(tmp_path):
    (tmp_path / "classes.txt").write_bytes("sky\r\nstraße\r\n".encode("utf-8-sig"))
    assert read_names(tmp_path / "classes.txt") == ("sky", "straße")


def test_missing_folders_name_the_flag(tmp_path, data_root):
    with pytest.raises(UserError, match="no folder .*images/training: give .*--data-root"):
        load_fitted_config(ADE, data_root=tmp_path)
    with pytest.raises(UserError, match="no folder .*mini/lables: give"):
        load(data_root, {"train_dataloader.dataset.data_prefix.seg_map_path": "lables"})
    with pytest.raises(UserError, match=r"mini/val holds no image \*.webp: .*img_suffix="):
        load(data_root, {"val_dataloader.dataset.img_suffix": ".webp"})


def test_a_resolved_config_loads_again(data_root, tmp_path):
    cfg = load(data_root)
    cfg.dump(tmp_path / "resolved.py")
    again = load_fitted_config(tmp_path / "resolved.py")
    assert again.train_dataloader == cfg.train_dataloader and again.model == cfg.model


# name -> arch, drop path, lr, crop, stride, scale: recipes of the paper and its release
RECIPES = {
    "upernet_convnext_t_512_160k": ("tiny", 0.4, 1e-4, 512, 341, 2048),
    "upernet_convnext_s_512_160k": ("small", 0.3, 1e-4, 512, 341, 2048),
    "upernet_convnext_b_512_160k": ("base", 0.4, 1e-4, 512, 341, 2048),
    "upernet_convnext_b_in22k_640_160k": ("base", 0.4, 1e-4, 640, 426, 2560),
    "upernet_convnext_l_in22k_640_160k": ("large", 0.4, 1e-4, 640, 426, 2560),
    "upernet_convnext_xl_in22k_640_160k": ("xlarge", 0.4, 8e-5, 640, 426, 2560),
}
DIMS = {"tiny": 96, "small": 96, "base": 128, "large": 192, "xlarge": 256}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_the_papers(name):
    arch, drop_path, lr, crop, stride, long = RECIPES[name]
    cfg = load_config(CONFIGS / f"{name}.py")
    backbone, head, extra = cfg.model.backbone, cfg.model.decode_head, cfg.model.auxiliary_head
    assert (backbone.arch, backbone.drop_path_rate) == (arch, drop_path)
    assert backbone.layer_scale_init_value == 1.0
    assert ("22k" in backbone.init_cfg.checkpoint) == ("in22k" in name)
    assert head.in_channels == [DIMS[arch] * 2**stage for stage in range(4)]
    assert (head.channels, head.pool_scales, head.dropout_ratio) == (512, (1, 2, 3, 6), 0.1)
    assert (extra.in_channels, extra.in_index) == (head.in_channels[2], 2)
    assert (extra.channels, extra.num_convs, extra.loss_decode.loss_weight) == (256, 1, 0.4)
    wrapper = cfg.optim_wrapper
    assert (wrapper.optimizer.lr, wrapper.optimizer.weight_decay) == (lr, 0.05)
    assert wrapper.paramwise_cfg == dict(decay_rate=0.9, decay_type="stage_wise")
    assert cfg.model.data_preprocessor.size == (crop, crop)
    assert cfg.model.test_cfg == dict(mode="slide", crop_size=(crop, crop), stride=(stride, stride))
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps["RandomResize"].scale == (long, crop)
    assert steps["RandomResize"].ratio_range == (0.5, 2.0)
    assert (steps["RandomCrop"].crop_size, steps["RandomCrop"].cat_max_ratio) == (
        (crop, crop),
        0.75,
    )
    assert "PhotoMetricDistortion" in steps and steps["RandomFlip"].prob == 0.5
    resize = cfg.test_dataloader.dataset.pipeline[1]
    assert (resize.type, resize.scale, resize.keep_ratio) == ("Resize", (long, crop), True)
    assert cfg.train_dataloader.dataset.reduce_zero_label
    assert cfg.train_cfg.max_iters == 160000
    assert (cfg.train_dataloader.batch_size, cfg.auto_scale_lr.base_batch_size) == (2, 16)
    warmup, poly = cfg.param_scheduler
    assert (warmup.start_factor, warmup.end, warmup.by_epoch) == (1e-6, 1500, False)
    assert (poly.power, poly.eta_min, poly.begin, poly.end) == (1.0, 0.0, 0, 160000)


def test_a_look_without_data_has_classes_too():
    for path, expected in ((ADE, 150), (SHAPES, 2)):
        cfg = load_config(path)
        assume_label_classes(cfg)
        assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == expected


@pytest.mark.parametrize(
    ("entries", "split", "kept"),
    [
        ({}, "test", False),
        (dict(outfile="out.json"), "test", True),
        (dict(outfile="out.json"), "val", False),  # the other split's
        (dict(outfile="out.json"), None, False),  # a prediction
        (dict(type="MyMetric"), "test", True),  # whatever it reads
    ],
)
def test_scores_are_kept_where_they_are_read(entries, split, kept):
    cfg = load_config(ADE)
    before = dict(cfg.model.test_cfg)
    assert "keep_scores" not in before  # a model from the config alone keeps them
    cfg.test_evaluator = dict(cfg.test_evaluator, **entries)
    SegmentationTask().keep_scores(cfg, split)
    assert cfg.model.test_cfg == dict(before, keep_scores=kept)
    cfg.test_evaluator = [cfg.val_evaluator, cfg.test_evaluator]  # again, with several
    SegmentationTask().keep_scores(cfg, split)
    assert cfg.model.test_cfg.keep_scores is kept


def test_other_models_get_no_word_about_scores():
    options = {"model.type": "EncoderDecoder"}
    cfg = load_config(ADE, cfg_options=options)
    SegmentationTask().keep_scores(cfg, "test")
    assert "keep_scores" not in cfg.model.test_cfg


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (dict(windows_at_once=0), "windows_at_once must be a whole number from 1 on, got 0"),
        (dict(windows_at_once=2.5), "windows_at_once must be a whole number from 1 on, got 2.5"),
        (dict(stride=(341, 513)), "test_cfg must be windows without gaps"),
        (dict(stride=(0, 341)), "test_cfg must be windows without gaps"),
        (dict(stride=341), "test_cfg must be windows without gaps"),
        (dict(crop_size=None), "test_cfg must be windows without gaps"),
    ],
)
def test_windows_that_cannot_be_used_are_named_before_all_else(entries, message):
    options = {f"model.test_cfg.{key}": value for key, value in entries.items()}
    with pytest.raises(UserError, match=message):
        load_config(ADE, cfg_options=options)
    load_config(ADE, cfg_options={"model.test_cfg.stride": (512, 512)})
