"""Own data by flags: what the datasets become, and what is refused in one sentence."""

import argparse
import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from convnext_dense.cli.shared.data_arguments import add_own_data_arguments, add_split_arguments
from convnext_dense.config.config_tree import walk
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.data.labels.folders import label_suffix
from convnext_dense.data.own import flags as own_data_flags
from convnext_dense.errors import UserError
from tests.datasets.test_labels import ADE, NAMES
from tests.datasets.test_labels import SHAPES as LABEL_SHAPES
from tests.miniature import SHAPES, leaves

CLASSES = {"circle", "square", "triangle", "star", "ring", "cross"}
TRAINING = ("train", "val", "test")


def parse(*arguments) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_own_data_arguments(parser)
    add_split_arguments(parser)
    parser.add_argument("--epochs", type=int)
    return parser.parse_args(list(map(str, arguments)))


def load(config, *arguments, splits=TRAINING, options=None, **kwargs):
    custom = own_data_flags.from_args(parse(*arguments), splits)
    return load_fitted_config(config, own_data=custom, cfg_options=options, splits=splits, **kwargs)


def detection_flags(birds) -> list:
    images = ["--images", birds / "images"]
    return ["--train-json", birds / "train.json", "--val-json", birds / "val.json", *images]


def label_flags(streets) -> list:
    return ["--images", streets / "images", "--labels", streets / "labels"]


@pytest.mark.parametrize("path", leaves("detection"), ids=lambda path: path.stem)
def test_every_detector_takes_a_json(path, birds):
    cfg = load(path, *detection_flags(birds))
    found = [head.get("num_classes", head.get("num_things_classes")) for head in walk(cfg.model)]
    assert {number for number in found if number is not None} == {6}
    for split, name in (("train", "train"), ("val", "val"), ("test", "val")):
        data = cfg[f"{split}_dataloader"].dataset
        assert (data.data_root, data.ann_file) == (str(birds), f"{name}.json")
        assert data.data_prefix == dict(img="images") and set(data.metainfo.classes) == CLASSES
    assert cfg.test_evaluator.ann_file == str(birds / "val.json")
    empty_too = path.stem == "dino_convnext_t_12e"  # as its source has it
    assert cfg.train_dataloader.dataset.filter_cfg.filter_empty_gt is not empty_too
    assert cfg.test_dataloader.dataset.test_mode


def test_two_folders_and_a_file_elsewhere(data_root, tmp_path):
    shutil.copy(data_root / "mini/annotations/instances_train.json", tmp_path / "t.json")
    flags = ["--train-json", tmp_path / "t.json", "--val-json"]
    flags += [data_root / "mini/annotations/instances_val.json", "--images"]
    cfg = load(SHAPES, *flags, data_root / "mini/train", data_root / "mini/val")
    for split, folder in (("train", "train"), ("test", "val")):
        data = cfg[f"{split}_dataloader"].dataset
        assert (tmp_path.parent / data.data_root / data.data_prefix.img).resolve() == (
            data_root / "mini" / folder
        )


def test_boxes_alone_drop_the_mask_branch(birds):
    for split in ("train", "val"):
        content = json.loads((birds / f"{split}.json").read_text())
        for annotation in content["annotations"]:
            del annotation["segmentation"]
        (birds / f"{split}.json").write_text(json.dumps(content))
    cfg = load(SHAPES, *detection_flags(birds))
    assert "mask_head" not in cfg.model.roi_head and cfg.test_evaluator.metric == ["bbox"]


def test_the_resolved_config_works_from_anywhere(birds, tmp_path, monkeypatch):
    monkeypatch.chdir(birds)
    flags = ["--train-json", "train.json", "--val-json", "val.json", "--images", "images"]
    cfg = load(SHAPES, *flags)
    cfg.dump(tmp_path / "resolved.py")
    monkeypatch.chdir(tmp_path)
    again = load_fitted_config(tmp_path / "resolved.py", splits=TRAINING)
    assert again.test_dataloader == cfg.test_dataloader
    # a test takes the same flags, for other images
    flags = ["--val-json", birds / "train.json", "--images", birds / "images"]
    cfg = load(tmp_path / "resolved.py", *flags, splits=("test",))
    assert cfg.test_dataloader.dataset.ann_file == "train.json"
    assert cfg.test_evaluator.ann_file == str(birds / "train.json")


def test_options_beside_the_flags_win(birds):
    options = {
        "train_dataloader.dataset.metainfo.classes": ("star", "ring"),
        "train_dataloader.dataset.filter_cfg.min_size": 7,
    }
    cfg = load(SHAPES, *detection_flags(birds), options=options)
    assert cfg.test_dataloader.dataset.metainfo.classes == ("star", "ring")
    assert cfg.train_dataloader.dataset.filter_cfg == dict(filter_empty_gt=True, min_size=7)


@pytest.mark.parametrize("config", [ADE, LABEL_SHAPES], ids=lambda path: path.stem)
def test_a_segmentor_takes_folders(config, streets):
    cfg = load(config, *label_flags(streets))
    for split, name in (("train", "train"), ("val", "val"), ("test", "val")):
        data = cfg[f"{split}_dataloader"].dataset
        assert data.data_prefix == dict(img_path=f"images/{name}", seg_map_path=f"labels/{name}")
        assert (data.type, data.data_root) == ("BaseSegDataset", str(streets))
        assert (data.img_suffix, data.seg_map_suffix) == (".jpg", ".png")
        assert data.metainfo.classes == NAMES and data.reduce_zero_label is False
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 7


def test_endings_are_found(streets):
    for split in ("train", "val"):
        for path in list((streets / "images" / split).iterdir()):
            Image.open(path).save(path.with_suffix(".PNG"))
            path.unlink()
        for path in list((streets / "labels" / split).iterdir()):
            path.rename(path.with_name(f"{path.stem}_L.png"))
        (streets / "labels" / split / "notes.txt").touch()
    cfg = load(LABEL_SHAPES, *label_flags(streets))
    data = cfg.train_dataloader.dataset
    assert (data.img_suffix, data.seg_map_suffix) == (".PNG", "_L.png")
    # of several files for an image, the one of the same name
    for path in list((streets / "labels/train").glob("*_L.png")):
        shutil.copy(path, path.with_name(path.name.replace("_L", "")))
        shutil.copy(path, path.with_name(path.name.replace("_L", "_colour")))
    cfg = load(LABEL_SHAPES, *label_flags(streets))
    assert cfg.train_dataloader.dataset.seg_map_suffix == ".png"
    options = {"train_dataloader.dataset.seg_map_suffix": "_colour.png"}
    cfg = load(LABEL_SHAPES, *label_flags(streets), options=options)
    assert cfg.train_dataloader.dataset.seg_map_suffix == "_colour.png"
    assert cfg.val_dataloader.dataset.seg_map_suffix == "_L.png"


def test_names_from_another_file_and_zero_ignored(streets):
    (streets / "classes.txt").rename(streets / "names.txt")
    with pytest.raises(UserError, match=r"no class names .*write them into .*classes.txt"):
        load(LABEL_SHAPES, *label_flags(streets))
    more = ["--classes", streets / "names.txt", "--reduce-zero-label"]
    cfg = load(LABEL_SHAPES, *label_flags(streets), *more)
    assert cfg.test_dataloader.dataset.metainfo.classes == NAMES
    assert cfg.test_dataloader.dataset.reduce_zero_label is True


def test_one_folder_is_enough_for_a_test(streets):
    images, labels = streets / "images/val", streets / "labels/val"
    cfg = load(LABEL_SHAPES, "--images", images, "--labels", labels, splits=("test",))
    data = cfg.test_dataloader.dataset
    assert (data.data_root, data.data_prefix.img_path) == (str(streets), "images/val")
    # and of a folder of both, the validation images
    cfg = load(LABEL_SHAPES, *label_flags(streets), splits=("test",))
    assert cfg.test_dataloader.dataset.data_prefix.img_path == "images/val"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train-json", "t.json", "--images", "d"], "--train-json needs --val-json beside it"),
        (["--val-json", "t.json", "--images", "d"], "--val-json needs --train-json beside it"),
        (["--train-json", "t.json", "--val-json", "t.json"], "--train-json needs --images"),
        (
            ["--train-json", "t.json", "--val-json", "t.json", "--images", "d", "--split", "0.2"],
            "--split takes validation data from the training data: leave out --val-json[.]$",
        ),
        (["--labels", "d"], "--labels needs --images"),
        (["--images", "d"], "--images belongs to own data, which is named by --train-data"),
        (["--epochs", "3"], "--epochs belongs to own data"),
        (["--classes", "t.json"], "--classes belongs to own data"),
        (["--labels", "d", "--images", "d"], "--images d is one folder for training and valida"),
        (["--labels", "d", "--images", "d", "d"], "--labels d is one folder for training and"),
        (["--labels", "d", "d", "d", "--images", "d", "d"], "--labels takes one or two folders"),
        (["--labels", "d", "no", "--images", "d", "d"], "--labels names no, which is no folder"),
        (["--train-json", "no", "--val-json", "t.json", "--images", "d"], "names no, which is no"),
        (
            ["--train-json", "t.json", "--val-json", "t.json", "--images", "d", "--classes", "t"],
            "--classes, --reduce-zero-label and --mask-values belong to segmentation",
        ),
    ],
)  # fmt: skip
def test_flags_that_do_not_go_together(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(UserError, match=message):
        own_data_flags.from_args(parse(*arguments), TRAINING)


def test_without_flags_there_is_no_own_data():
    assert own_data_flags.from_args(parse(), TRAINING) is None


def test_data_of_the_other_task_is_named(birds, streets):
    with pytest.raises(UserError, match=r"a_shapes.py is for detection: a detector takes --train"):
        load(SHAPES, *label_flags(streets))
    with pytest.raises(UserError, match=r"is for segmentation: .*a segmentor --labels"):
        load(LABEL_SHAPES, *detection_flags(birds))


def test_pictures_without_label_are_named(streets):
    for path in sorted((streets / "labels/train").iterdir())[:7]:
        path.unlink()
    with pytest.raises(UserError, match=r"7 of 10 images of .*images/train have no label in"):
        load(LABEL_SHAPES, *label_flags(streets))


def test_folders_that_cannot_be_read_are_named(streets, birds, tmp_path):
    (tmp_path / "none").mkdir()
    flags = ["--images", tmp_path / "none", streets / "images/val", "--labels"]
    flags += [streets / "labels/train", streets / "labels/val"]
    with pytest.raises(UserError, match="none holds no image"):
        load(LABEL_SHAPES, *flags)
    flags = ["--images", streets / "images/train", streets / "images/val", "--labels"]
    with pytest.raises(UserError, match="none holds no label for the images of .*images/train"):
        load(LABEL_SHAPES, *flags, tmp_path / "none", streets / "labels/val")
    jsons = detection_flags(birds)[:-1]
    with pytest.raises(UserError, match=r"10 of 10 images of .*train.json are not in .*none"):
        load(SHAPES, *jsons, tmp_path / "none")


def test_an_image_without_label_and_lossy_labels_are_refused(streets):
    cv2.imwrite(str(streets / "images/val/other.png"), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(UserError, match=r"1 of 7 images of .*val have no label in .*: other.png"):
        load(LABEL_SHAPES, *label_flags(streets))
    (streets / "images/val/other.png").unlink()
    for path in list((streets / "labels/train").iterdir()):
        path.rename(path.with_suffix(".jpg"))
    with pytest.raises(UserError, match=r"stored without loss \(.png"):
        load(LABEL_SHAPES, *label_flags(streets))


def test_two_labels_for_a_picture_are_refused(streets):
    for path in list((streets / "labels/train").iterdir()):
        shutil.copy(path, path.with_name(f"{path.stem}_a.png"))
        path.rename(path.with_name(f"{path.stem}_b.png"))
    with pytest.raises(UserError, match=r"several files for each image \(_a.png, _b.png\)"):
        load(LABEL_SHAPES, *label_flags(streets))


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("annotations", lambda a: a.pop("area"), "1 of .* annotations have no 'area' .width x hei"),
        ("annotations", lambda a: a.pop("bbox"), "have no 'bbox'"),
        ("annotations", lambda a: a.update(bbox=[1, 2]), "no box of x, y, width, height"),
        ("annotations", lambda a: a.update(image_id=-1), "an image_id that no image has"),
        ("annotations", lambda a: a.update(category_id=99), "a category_id of no category"),
        ("annotations", lambda a: a.update(id=2), "2 of .* annotations have a doubled id"),
        ("images", lambda i: i.pop("width"), "1 of 10 images have no 'width' .pixels of"),
    ],
)  # fmt: skip
def test_a_broken_json_is_one_sentence(birds, kind, change, message):
    content = json.loads((birds / "train.json").read_text())
    change(content[kind][0])
    (birds / "train.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"train.json: .*{message}") as caught:
        load(SHAPES, *detection_flags(birds))
    assert "counts" not in str(caught.value)  # no masks in a message


def test_a_json_without_pictures_is_named(birds):
    content = json.loads((birds / "val.json").read_text())
    (birds / "val.json").write_text(json.dumps({**content, "images": [], "annotations": []}))
    with pytest.raises(UserError, match=r"val.json names no image"):
        load(SHAPES, *detection_flags(birds))


def test_the_ending_that_serves_most_pictures_is_taken(tmp_path):
    """Names that begin alike, and files that belong to no image, do not mislead."""
    for folder, names in (
        ("images", ["a_1.jpg", "a_10.jpg", "a_2.jpg"]),
        (
            "labels",
            ["a_1.png", "a_10.png", "a_2.png", "a_1_x.png", "b_x.png", "c_x.png", "d_x.png"],
        ),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    assert label_suffix(tmp_path / "images", tmp_path / "labels", ".jpg") == ".png"
    for name in ("a_1", "a_10", "a_2"):
        (tmp_path / f"labels/{name}.png").rename(tmp_path / f"labels/{name}_y.png")
    assert label_suffix(tmp_path / "images", tmp_path / "labels", ".jpg") == "_y.png"
