"""Label images whose values are no indices, and classes without a pixel."""

import json

import numpy as np
import pytest
from PIL import Image

from convnext_dense.cli.shared.train_flags import TrainFlags
from convnext_dense.cli.shared.train_settings import fit_settings, load_settings
from convnext_dense.data.own import flags as own_data_flags
from convnext_dense.data.own.flags import parse_mask_values
from convnext_dense.errors import UserError
from convnext_dense.preflight.data_check import check_data
from convnext_dense.segmentation.task import TASK
from tests.datasets.test_labels import ADE, NAMES
from tests.datasets.test_labels import SHAPES as LABEL_SHAPES
from tests.datasets.test_own_data import TRAINING, label_flags, load, parse

MASK_VALUES = ["--mask-values", "0=background", "255=road"]


@pytest.fixture
def masks(streets):
    """Rewrites the label images by a function of them; class names: background, road."""

    def rewrite(change, names="background\nroad\n", splits=("train", "val")):
        for split in splits:
            for path in sorted((streets / "labels" / split).iterdir()):
                Image.fromarray(change(np.array(Image.open(path))).astype(np.uint8)).save(path)
        (streets / "classes.txt").write_text(names)
        return label_flags(streets)

    return rewrite


def binary(labels):
    return np.where(labels > 0, 255, 0)


@pytest.mark.parametrize(
    ("change", "pair"),
    [
        (binary, "0=background 255=road"),
        (lambda labels: np.where(labels > 0, 255, 1), "1=road 255=background"),
        (lambda labels: np.where(labels > 0, 0, 255), "0=background 255=road"),
    ],
)
def test_one_class_and_255_is_refused(masks, change, pair):
    cfg = load(LABEL_SHAPES, *masks(change))
    with pytest.raises(UserError, match=f"255 is ignored: nothing but .*--mask-values {pair}"):
        check_data(cfg)


def test_two_classes_and_255_are_not(masks):
    labels = masks(lambda labels: np.where(labels == 1, 255, labels > 0))
    check_data(load(LABEL_SHAPES, *labels))


@pytest.mark.parametrize("named", [True, False])
def test_values_are_mapped_on_request(masks, streets, named):
    flags = masks(binary)
    if not named:
        (streets / "classes.txt").unlink()
    cfg = load(LABEL_SHAPES, *flags, *MASK_VALUES)
    assert cfg.train_dataloader.dataset.metainfo.classes == ("background", "road")
    opened = check_data(cfg)
    for split in ("train", "val"):
        for image in opened[split]:
            stem = image.path.rsplit("/", 1)[1].replace(".jpg", ".png")
            mask = np.array(Image.open(streets / "labels" / split / stem))
            assert image.labels[:2].tolist() == [(mask == 0).sum(), (mask == 255).sum()]
            assert image.labels.sum() == mask.size
    assert TASK.remarks(cfg, "train", opened["train"]) == []


def test_other_values_and_an_ignored_one(masks, streets):
    flags = masks(lambda labels: np.choose(np.minimum(labels, 2), [7, 128, 200]), "a\nb\nc\n")
    with pytest.raises(UserError, match="holds the label 200.*--mask-values 7=NAME 128=NAME 200=N"):
        check_data(load(LABEL_SHAPES, *flags))
    (streets / "classes.txt").write_text("background\nroad\n")
    values = ["--mask-values", "7=ignore", "200=background", "128=road"]
    opened = check_data(load(LABEL_SHAPES, *flags, *values))
    assert all(image.labels[255] == image.indices[7] for image in opened["train"])
    assert sum(image.labels[1] for image in opened["train"]) > 0
    with pytest.raises(UserError, match="holds the value 7, but --mask-values names 128, 200"):
        check_data(load(LABEL_SHAPES, *flags, "--mask-values", "128=road", "200=background"))


def test_the_resolved_config_keeps_the_values(masks, tmp_path):
    cfg = load(LABEL_SHAPES, *masks(binary), *MASK_VALUES)
    cfg.dump(tmp_path / "resolved.py")
    again = load(tmp_path / "resolved.py")
    assert again.train_dataloader == cfg.train_dataloader
    assert len(check_data(again)["train"]) == 10


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["0"], "takes pairs like 0=background 255=road.*got '0'"),
        (["a=b"], "takes pairs"),
        (["-1=b"], "takes pairs"),
        (["1="], "takes pairs"),
        (["1=a", "01=b"], "names the value 1 twice"),
    ],
)
def test_what_is_no_pair(pairs, message):
    with pytest.raises(UserError, match=message):
        parse_mask_values(pairs)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--reduce-zero-label"], "leave out --reduce-zero-label, or write 0=ignore"),
        (["--mask-values", "0=background", "255=street"], "'street', but .*classes.txt has back"),
    ],
)
def test_flags_beside_it(masks, more, message):
    with pytest.raises(UserError, match=message):
        load(LABEL_SHAPES, *masks(binary), *MASK_VALUES, *more)
    assert parse_mask_values(["0=sky", "5=sky", "9=ignore"]) == {0: "sky", 5: "sky", 9: None}


def test_a_class_without_a_pixel_is_said(masks):
    flags = masks(lambda labels: np.where(labels == 3, 0, labels), "\n".join([*NAMES, "moon"]))
    cfg = load(LABEL_SHAPES, *flags)
    opened = check_data(cfg)
    (line,) = TASK.remarks(cfg, "train", opened["train"])
    assert line == (
        f"2 of 8 classes have no pixel to train on in the 10 labels that were read: {NAMES[3]}, "
        "moon."
    )
    assert TASK.remarks(cfg, "val", opened["val"]) == []
    masks(lambda labels: labels * 0, "\n".join(NAMES), splits=("val",))
    cfg = load(LABEL_SHAPES, *flags)
    (line,) = TASK.remarks(cfg, "val", check_data(cfg)["val"])
    assert line == f"The 6 val labels that were read hold {NAMES[0]!r} alone."


def test_a_rare_class_is_looked_for(masks, streets, monkeypatch):
    """Only the last label has it: more labels are read, up to the one that has it."""
    from convnext_dense.data.labels import check_images

    monkeypatch.setattr(check_images, "SAMPLE", 2)
    flags = masks(lambda labels: labels % 3, "a\nb\nc\nd\n")
    path = sorted((streets / "labels/train").iterdir())[5]
    labels = np.array(Image.open(path))
    labels[:4] = 3
    Image.fromarray(labels).save(path)
    cfg = load(LABEL_SHAPES, *flags)
    opened = check_data(cfg)["train"]
    assert TASK.remarks(cfg, "train", opened) == [] and 2 < len(opened) < 10
    assert sum(image.size is not None for image in opened) == 2


@pytest.mark.parametrize("count", [6, 8])
@pytest.mark.parametrize("head", ["decode_head", "auxiliary_head"])
def test_class_weights_of_another_length(streets, tmp_path, count, head):
    words = f"model.{head} has a class_weight of {count} numbers for 7 classes: give 7, one of each"
    (tmp_path / "w.json").write_text(json.dumps([1.0] * count))
    np.save(tmp_path / "w.npy", np.ones(count))
    for weights in ([1.0] * count, str(tmp_path / "w.json"), str(tmp_path / "w.npy")):
        with pytest.raises(UserError, match=words):
            load(ADE, *label_flags(streets), options=weighted(head, weights))
    load(ADE, *label_flags(streets), options=weighted(head, [1.0] * 7))
    with pytest.raises(UserError, match="names the class_weight .*gone.npy, which is no file"):
        load(ADE, *label_flags(streets), options=weighted(head, str(tmp_path / "gone.npy")))


def weighted(head, weights) -> dict:
    return {f"model.{head}.loss_decode.class_weight": weights}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, "There is no list of images .*train.txt .ann_file"),
        ("\n\n", "names no image"),
        ("{stem}.jpg\n{stem}\n", "1 of 2 names of .*have no file in .*without ending, relative to"),
        ("images/train/{stem}\n", "1 of 1 names .*: write the names relative to the folder"),
        ("images/train/{stem}.jpg\n", "1 of 1 names .*: write the names without ending, relative"),
        ("{stem}\nmoon\n", "1 of 2 names .*: moon\\."),
        ("\ufeff{stem}\n", "begins with a byte order mark"),
    ],
)
def test_a_split_list_names_images(streets, lines, message):
    options = {"train_dataloader.dataset.ann_file": "train.txt"}
    stem = sorted((streets / "images/train").iterdir())[0].stem
    if lines is not None:
        (streets / "train.txt").write_text(lines.format(stem=stem))
    with pytest.raises(UserError, match=message):
        load(LABEL_SHAPES, *label_flags(streets), options=options)


def test_a_run_with_a_split_list(streets, capsys):
    """The table of the schedule opened the list as a COCO file."""
    stems = [path.stem for path in sorted((streets / "images/train").iterdir())[:4]]
    (streets / "train.txt").write_text("\n".join(stems))
    data = own_data_flags.from_args(parse(*label_flags(streets)), TRAINING)
    options = {"train_dataloader.dataset.ann_file": "train.txt"}
    flags = TrainFlags(str(LABEL_SHAPES), own_data=data, cfg_options=options)
    settled = load_settings(flags)
    fit_settings(settled, flags)
    assert settled.cfg.fitted_to["pictures"] == 4
    assert "training images" in capsys.readouterr().out


def test_labels_without_an_image_are_said(streets):
    cfg = load(LABEL_SHAPES, *label_flags(streets))
    assert TASK.remarks(cfg, "train", []) == []
    sorted((streets / "images/train").iterdir())[0].unlink()
    (line,) = TASK.remarks(load(LABEL_SHAPES, *label_flags(streets)), "train", [])
    assert "1 label files of" in line and "have no image in" in line
