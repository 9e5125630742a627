"""Layouts of datasets and tools: the same labels are loaded, whatever folders and values say."""

import json
from pathlib import Path

import numpy as np
import pytest

from convnext_dense.errors import UserError
from tests.layouts.drawn import COLOURS, classes_of, load, loaded, save, save_image, scene

NAMES = ("background", "road", "house", "tree")
SPLITS = {"train": (0, 1, 2), "val": (3, 4)}
# Cityscapes' labels.py: id -> training id.
CITY_IDS = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11,
            25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}  # fmt: skip
VOC_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + 252 * [224, 224, 192]


def check(cfg, names: dict[str, list[str]], expected=scene) -> None:
    """The labels of each split are those of the scenes."""
    for split, files in names.items():
        found = loaded(cfg, split)
        assert sorted(found) == sorted(files)
        for name, seed in zip(files, SPLITS[split], strict=True):
            np.testing.assert_array_equal(found[name], expected(seed), err_msg=f"{split}/{name}")


def write_classes(root: Path, names=NAMES) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("\n".join(names))


def write_cityscapes(root: Path, kinds: dict) -> dict[str, list[str]]:
    """``kinds``: ending of the label files -> their pixels of a scene."""
    names: dict[str, list[str]] = {}
    for split, seeds in SPLITS.items():
        for seed in seeds:
            city = ("aachen", "bonn")[seed % 2]
            stem = f"{city}_{seed:06}_000019"
            image = root / f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png"
            names.setdefault(split, []).append(save_image(image).name)
            for kind, pixels in kinds.items():
                save(root / f"gtFine/{split}/{city}/{stem}_gtFine_{kind}.png", pixels(seed))
    return names


def city_ids(seed: int) -> np.ndarray:
    """A scene of Cityscapes' ids, with some that are not trained on."""
    return np.array([7, 26, 33, 0])[scene(seed)].astype(np.uint8)


def city_labels(seed: int) -> np.ndarray:
    return np.array([0, 13, 18, 255])[scene(seed)].astype(np.uint8)


def test_cityscapes_of_ids(tmp_path):
    colour = lambda seed: np.array(COLOURS, np.uint8)[scene(seed)]  # noqa: E731
    names = write_cityscapes(tmp_path / "city", {"labelIds": city_ids, "color": colour})
    cfg = load(tmp_path / "w", "--train-data", tmp_path / "city")
    assert classes_of(cfg)[:3] == ("road", "sidewalk", "building") and len(classes_of(cfg)) == 19
    check(cfg, names, city_labels)
    # every id of the table, and every other one below 34, is read as Cityscapes reads it
    ids = np.arange(34, dtype=np.uint8).repeat(40)[: 40 * 30].reshape(30, 40)
    path = tmp_path / "city/gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
    save(path, ids)
    expected = np.vectorize(lambda value: CITY_IDS.get(value, 255))(ids)
    np.testing.assert_array_equal(loaded(cfg)["aachen_000000_000019_leftImg8bit.png"], expected)


def test_cityscapes_of_training_ids_with_names_of_ones_own(tmp_path):
    names = write_cityscapes(tmp_path / "city", {"labelIds": city_ids, "labelTrainIds": scene})
    cfg = load(tmp_path / "w1", "--train-data", tmp_path / "city")
    check(cfg, names)
    assert len(classes_of(cfg)) == 19
    write_classes(tmp_path / "city")
    cfg = load(tmp_path / "w2", "--train-data", tmp_path / "city")
    assert classes_of(cfg) == classes_of(cfg, "val") == NAMES
    check(cfg, names)
    folders = [tmp_path / "city/leftImg8bit", "--labels", tmp_path / "city/gtFine"]
    check(load(tmp_path / "w3", "--images", *folders), names)
    lacking = tmp_path / "city/gtFine/val/bonn/bonn_000003_000019_gtFine_labelTrainIds.png"
    lacking.unlink()
    with pytest.raises(UserError, match=r"1 of 2 images of .*val have no label \*_labelTrainIds"):
        load(tmp_path / "w4", "--train-data", tmp_path / "city")


def write_voc(root: Path, ending: str = ".jpg", palette=VOC_PALETTE) -> dict[str, list[str]]:
    names = {}
    for split, seeds in SPLITS.items():
        stems = [f"2007_{seed:06}" for seed in seeds]
        for stem, seed in zip(stems, seeds, strict=True):
            save_image(root / f"JPEGImages/{stem}{ending}")
            save(root / f"SegmentationClass/{stem}.png", scene(seed), palette)
        file = root / f"ImageSets/Segmentation/{split}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(stems) + "\n")
        names[split] = [f"{stem}{ending}" for stem in stems]
    save_image(root / f"JPEGImages/no_mask{ending}")
    return names


def test_voc_by_its_lists(tmp_path):
    names = write_voc(tmp_path / "VOCdevkit/VOC2012")
    cfg = load(tmp_path / "w", "--train-data", tmp_path / "VOCdevkit")
    check(cfg, names)
    assert classes_of(cfg)[:2] == ("background", "aeroplane") and len(classes_of(cfg)) == 21
    with (tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").open("a") as file:
        file.write("no_mask\n")
    with pytest.raises(UserError, match=r"1 of 3 lines of .*val.txt name no labelled .*: no_mask"):
        load(tmp_path / "w", "--train-data", tmp_path / "VOCdevkit")


def test_the_border_of_voc_is_ignored(tmp_path):
    write_voc(tmp_path / "voc")
    border = scene(0)
    border[::3] = 255
    save(tmp_path / "voc/SegmentationClass/2007_000000.png", border, VOC_PALETTE)
    found = loaded(load(tmp_path / "w", "--train-data", tmp_path / "voc"))
    np.testing.assert_array_equal(found["2007_000000.jpg"], border)


@pytest.mark.parametrize("coloured", [True, False])
def test_cvats_masks(tmp_path, coloured):
    """CVAT lists classes in an order of its own; its masks hold colours, or indices in it."""
    order = (2, 0, 3, 1)
    lines = [f"{NAMES[n]}:{','.join(map(str, COLOURS[n]))}::" for n in order]
    root = tmp_path / "cvat"
    for seed in range(6):
        save_image(root / f"JPEGImages/{seed}.png")
        indices = np.argsort(order)[scene(seed)]
        pixels = np.array(COLOURS)[scene(seed)] if coloured else indices
        save(root / f"SegmentationClass/{seed}.png", pixels.astype(np.uint8))
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines))
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/default.txt").write_text("\n".join(map(str, range(6))))
    cfg = load(tmp_path / "w", "--train-data", root, "--split", 0.34)
    assert classes_of(cfg) == tuple(NAMES[n] for n in order)
    found = loaded(cfg) | loaded(cfg, "val")
    assert len(found) == 6 and len(loaded(cfg, "val")) == 2
    for name, labels in found.items():
        np.testing.assert_array_equal(np.array(order)[labels], scene(int(name[0])))


def test_labelmes_export(tmp_path):
    root = tmp_path / "labelme"
    write_voc(root)
    (root / "SegmentationClass").rename(root / "SegmentationClassPNG")
    for path in (root / "SegmentationClassPNG").iterdir():  # as before version 5.5
        path = root / "SegmentationClass" / path.with_suffix(".npy").name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (root / "class_names.txt").write_text("__ignore__\n_background_\nroad\nhouse\ntree\n")
    cfg = load(tmp_path / "w", "--train-data", root)
    assert classes_of(cfg) == NAMES
    np.testing.assert_array_equal(loaded(cfg)["2007_000001.jpg"], scene(1))


def write_mapillary(root: Path, version: str = "") -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for split, folder in (("train", "training"), ("val", "validation")):
        for seed in SPLITS[split]:
            names.setdefault(split, []).append(
                save_image(root / folder / f"images/m{seed}.jpg").name
            )
            save(root / folder / version / f"labels/m{seed}.png", scene(seed), VOC_PALETTE)
    labels = [
        dict(name=f"a--{n}", readable=n.title(), color=c, evaluate=n != "tree", instances=True)
        for n, c in zip(NAMES, COLOURS, strict=True)
    ]
    suffix = f"_{version}" if version else ""
    (root / f"config{suffix}.json").write_text(json.dumps({"labels": labels}))
    return names


@pytest.mark.parametrize("version", ["", "v1.2", "v2.0"])
def test_mapillary(tmp_path, version):
    names = write_mapillary(tmp_path / "vistas", version)
    cfg = load(tmp_path / "w", "--train-data", tmp_path / "vistas")
    assert classes_of(cfg) == ("Background", "Road", "House")
    check(cfg, names, lambda seed: np.where(scene(seed) == 3, 255, scene(seed)))


def test_loveda(tmp_path):
    root = tmp_path / "loveda"
    names: dict[str, list[str]] = {}
    for split, seeds in SPLITS.items():
        for seed in seeds:
            area = root / split.title() / ("Urban", "Rural")[seed % 2]
            names.setdefault(split, []).append(save_image(area / f"images_png/{seed}.png").name)
            save(area / f"masks_png/{seed}.png", scene(seed, 8))
    cfg = load(tmp_path / "w", "--train-data", root)
    assert classes_of(cfg)[:2] == ("background", "building") and len(classes_of(cfg)) == 7
    check(cfg, names, lambda seed: (scene(seed, 8) - 1).astype(np.uint8))  # 0 becomes 255


@pytest.mark.parametrize("maps", ["stuffthingmaps", "annotations"])
def test_coco_stuff(tmp_path, maps):
    root = tmp_path / "stuff"
    values = np.array([0, 12, 181, 255], np.uint8)  # person, stop sign (id 13), wood, nothing
    names: dict[str, list[str]] = {}
    for split, seeds in SPLITS.items():
        for seed in seeds:
            image = root / f"images/{split}2017/{seed:012}.jpg"
            names.setdefault(split, []).append(save_image(image).name)
            save(root / f"{maps}/{split}2017/{seed:012}.png", values[scene(seed)])
    cfg = load(tmp_path / "w", "--train-data", root)
    classes = classes_of(cfg)
    assert len(classes) == 171 and (classes[0], classes[-1]) == ("person", "wood")
    labels = np.array([0, classes.index("stop sign"), 170, 255])
    check(cfg, names, lambda seed: labels[scene(seed)])
    save(root / f"{maps}/train2017/{0:012}.png", np.full((30, 40), 11, np.uint8))  # a gap
    with pytest.raises(UserError, match="holds the value 11"):
        loaded(cfg)


def test_coco_stuff_has_cocos_ids(tmp_path):
    """The 80 things under their ids of COCO, whose pixels count from 0."""
    ids = [*range(1, 12), *range(13, 26), 27, 28, *range(31, 45), *range(46, 66), 67, 70,
           *range(72, 83), *range(84, 91)]  # fmt: skip
    assert len(ids) == 80
    things = np.full((30, 40), 255, np.uint8)
    things.ravel()[:80] = np.array(ids) - 1
    things.ravel()[80:171] = np.arange(91, 182)  # the stuff has no gaps
    for split in ("train", "val"):
        save_image(tmp_path / f"images/{split}2017/0.jpg")
        save(tmp_path / f"stuffthingmaps/{split}2017/0.png", things)
    found = loaded(load(tmp_path / "w", "--train-data", tmp_path))["0.jpg"]
    np.testing.assert_array_equal(found.ravel()[:171], np.arange(171))


def test_ade20k(tmp_path):
    root = tmp_path / "ADEChallengeData2016"
    for split, folder in (("train", "training"), ("val", "validation")):
        for seed in SPLITS[split]:
            save_image(root / f"images/{folder}/ADE_{seed}.jpg")
            save(root / f"annotations/{folder}/ADE_{seed}.png", scene(seed))
    (root / "objectInfo150.txt").touch()
    cfg = load(tmp_path / "w", "--train-data", root)
    assert classes_of(cfg)[:2] == ("wall", "building") and len(classes_of(cfg)) == 150
    expected = scene(1) - np.uint8(1)
    np.testing.assert_array_equal(loaded(cfg)["ADE_1.jpg"], expected)


# How people name folders: image and label of a split and a name.
PLAIN = {
    "kinds first": ("images/{}/{}.jpg", "labels/{}/{}.png"),
    "splits first": ("{}/images/{}.jpg", "{}/masks/{}.png"),
    "mmsegmentation": ("img_dir/{}/{}.jpg", "ann_dir/{}/{}.png"),
    "upper case": ("Images/{}/{}.JPG", "Masks/{}/{}.png"),
    "one folder": ("{}/{}.jpg", "{}/{}_mask.png"),
    "one folder, one stem": ("{}/{}.jpg", "{}/{}.png"),
    "one folder of png": ("{}/{}.png", "{}/{}_L.png"),
    "named alike": ("{}/{}.png", "{}_labels/{}_L.png"),
    "camvid of SegNet": ("{}/{}.png", "{}annot/{}.png"),
    "with the ending": ("{}/img/{}.jpg", "{}/masks_machine/{}.jpg.png"),
    "sub-folders": ("images/{}/a/{}.jpg", "labels/{}/a/{}.png"),
    "other sub-folders": ("images/{}/a/{}.jpg", "labels/{}/b/{}.png"),
    "prefixes": ("images/{}/image_{}.jpg", "masks/{}/mask_{}.png"),
    "lossless": ("images/{}/{}.tif", "labels/{}/{}.bmp"),
}  # fmt: skip
SPLIT_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation")}


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("number", [0, 1])
def test_plain_folders(tmp_path, kind, number):
    root, names = tmp_path / "data", {}
    write_classes(root)
    for split, seeds in SPLITS.items():
        folder = SPLIT_NAMES[split][number]
        for seed in seeds:
            image, label = (
                root / text.format(folder, f"s_{seed}" if seed else "s_10") for text in PLAIN[kind]
            )
            names.setdefault(split, []).append(save_image(image).name)
            save(label, scene(seed))
    check(load(tmp_path / "w", "--train-data", root), names)


def test_train_and_val_data_may_be_two_places(tmp_path):
    names = {}
    for split, seeds in SPLITS.items():
        root = tmp_path / f"place of {split}"
        write_classes(root)
        names[split] = [save_image(root / f"images/{seed}.jpg").name for seed in seeds]
        for seed in seeds:
            save(root / f"labels/{seed}.png", scene(seed))
    places = [tmp_path / f"place of {split}" for split in SPLITS]
    cfg = load(tmp_path / "w", "--train-data", places[0], "--val-data", places[1])
    check(cfg, names)
    with pytest.raises(UserError, match=r"no val split: looked for val, valid.*--split 0.2"):
        load(tmp_path / "w", "--train-data", places[0])
    write_cityscapes(tmp_path / "city", {"labelIds": city_ids})
    write_classes(tmp_path / "city")
    with pytest.raises(UserError, match="Cityscapes' table.*give both in one layout"):
        load(tmp_path / "w", "--train-data", places[0], "--val-data", tmp_path / "city")


def test_what_is_not_known_is_said(tmp_path):
    save_image(tmp_path / "photos/holiday/1.jpg")
    with pytest.raises(UserError, match=r"no layout .*Looked for: images/.*found: holiday/.*--ima"):
        load(tmp_path / "w", "--train-data", tmp_path / "photos")
    with pytest.raises(UserError, match="that is known as cityscapes"):
        load(tmp_path / "w", "--train-data", tmp_path / "photos", "--data-format", "cityscapes")
    write_voc(tmp_path / "voc")
    (tmp_path / "voc/JPEGImages").rename(tmp_path / "voc/elsewhere")
    with pytest.raises(UserError, match="SegmentationClass and no JPEGImages.*--images"):
        load(tmp_path / "w", "--train-data", tmp_path / "voc")
