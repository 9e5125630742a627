"""Looking at data: samples are what training gets, statistics what counting by hand gives."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from pycocotools.coco import COCO

from convnext_dense.browse import drawing, samples
from convnext_dense.browse.samples_page import browse
from convnext_dense.browse.style import class_colours
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.data.shapes.dataset import prepare_shapes
from convnext_dense.detection import browser as instances
from convnext_dense.errors import UserError
from convnext_dense.segmentation import browser as labels
from tests.datasets.test_labels import SHAPES as LABEL_SHAPES
from tests.miniature import SHAPES

CROWD = [10.0, 20.0, 60.0, 50.0]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root whose ``mini/`` holds 20 training images (one empty), a crowd, a bad box."""
    folder = tmp_path_factory.mktemp("browse")
    prepare_shapes(folder, train=20, val=4, cls_train=1, cls_val=1).rename(folder / "mini")
    path = folder / "mini/annotations/instances_train.json"
    content = json.loads(path.read_text())
    first = content["annotations"][0]
    mask = first["segmentation"]
    for number, box, crowd in ((9001, CROWD, 1), (9002, [5.0, 5.0, 0.5, 9.0], 0)):
        entry = dict(id=number, bbox=box, iscrowd=crowd, area=box[2] * box[3])
        content["annotations"].append({**first, **entry, "segmentation": mask})
    path.write_text(json.dumps(content))
    return folder


def load(path, root, **options) -> Config:
    mini = {f"{split}_dataloader.dataset.data_root": "mini/" for split in ("train", "val", "test")}
    return load_fitted_config(path, data_root=root, cfg_options={**mini, **options})


def open_split(cfg, split="train"):
    config = cfg[f"{split}_dataloader"].dataset
    pipeline = samples.truth_first(config.pipeline)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return samples.build_dataset(config, pipeline=pipeline), samples.build_preprocessor(cfg)


def test_detection_statistics_are_those_of_the_file(root, tmp_path):
    table = browse(load(SHAPES, root), "train", tmp_path / "out", number=3, seed=0)
    found = json.loads((tmp_path / "out/statistics.json").read_text())
    truth = COCO(str(root / "mini/annotations/instances_train.json"))
    real = truth.loadAnns([i for i in truth.getAnnIds(iscrowd=False) if i != 9002])
    areas = np.array([one["bbox"][2] * one["bbox"][3] for one in real])
    assert found["instances"] == len(real) and found["crowds"] == 1 and found["boxes_left_out"] == 1
    assert found["box_sizes"] == {
        "small": int((areas < 32**2).sum()),
        "medium": int(((areas >= 32**2) & (areas < 96**2)).sum()),
        "large": int((areas >= 96**2).sum()),
    }
    assert found["box_sides"]["median"] == pytest.approx(np.median(areas**0.5), abs=0.06)
    for category in truth.loadCats(truth.getCatIds()):
        row = found["classes"][category["name"]]
        own = [one for one in real if one["category_id"] == category["id"]]
        assert row["instances"] == len(own) == row["small"] + row["medium"] + row["large"]
        assert row["pictures"] == len({one["image_id"] for one in own})
    assert (found["pictures"], found["pictures_without_annotation"]) == (20, 1)
    assert found["pictures_used"] == 19
    assert "20 images, 1 without annotation; 1 left out of the train split" in table
    assert len(found["samples"]) == 3
    for file in [*found["samples"], "sheet.jpg", "statistics.png"]:
        assert min(Image.open(tmp_path / "out" / file).size) > 200


def test_label_statistics_are_those_of_the_files(root, tmp_path):
    cfg = load(LABEL_SHAPES, root)
    table = browse(cfg, "train", tmp_path / "out", number=2, seed=0)
    found = json.loads((tmp_path / "out/statistics.json").read_text())
    truth = [cv2.imread(str(p), -1) for p in sorted((root / "mini/labels/train").glob("*.png"))]
    known = sum(int((one != 255).sum()) for one in truth)
    for label, (name, row) in enumerate(found["classes"].items()):
        assert row["share"] == pytest.approx(sum((o == label).sum() for o in truth) / known), name
        assert row["pictures"] == sum((one == label).any() for one in truth)
    assert found["ignored_share"] == pytest.approx(1 - known / sum(one.size for one in truth))
    assert "background" in table and found["pictures"] == 20


def test_what_is_ignored_counts_apart(root, tmp_path):
    shutil.copytree(root / "mini", tmp_path / "mini")
    paths = sorted((tmp_path / "mini/labels/train").glob("*.png"))
    for number, path in enumerate(paths):
        picture = np.full(cv2.imread(str(path), -1).shape, 255, np.uint8)
        if number:
            picture[:, : picture.shape[1] // 2] = 3
        cv2.imwrite(str(path), picture)
    browse(load(LABEL_SHAPES, tmp_path), "train", tmp_path / "out", number=1, seed=0)
    found = json.loads((tmp_path / "out/statistics.json").read_text())
    assert found["pictures_all_ignored"] == 1 and found["classes"]["triangle"]["share"] == 1.0
    assert 0.5 < found["ignored_share"] < 0.6
    assert found["classes"]["star"] == {"share": 0.0, "pictures": 0}


@pytest.mark.parametrize("path", [SHAPES, LABEL_SHAPES], ids=lambda path: path.stem)
def test_a_seed_gives_the_same_again(path, root, tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        browse(load(path, root), "train", tmp_path / name, number=3, seed=seed)
    for name in ("sample_0.jpg", "sample_2.jpg", "sheet.jpg", "statistics.json"):
        first = (tmp_path / "a" / name).read_bytes()
        assert first == (tmp_path / "b" / name).read_bytes()
        assert first != (tmp_path / "c" / name).read_bytes()


def test_a_sample_is_what_the_network_gets(root):
    """The image shown, normalised by hand, is the network's input; its boxes lie on its masks."""
    cfg = load(SHAPES, root)
    dataset, preprocessor = open_split(cfg)
    seen = []
    preprocessor.register_forward_hook(lambda *call: seen.append(call[2]["inputs"][0]))
    for index in range(6):
        sample = samples.take(dataset, index, preprocessor, seed=1, training=True)
        mean, std = cfg.model.data_preprocessor.mean, cfg.model.data_preprocessor.std
        image = torch.from_numpy((sample.image - np.array(mean)) / np.array(std)).permute(2, 0, 1)
        assert image.shape == seen[-1].shape and image.shape[1] % 32 == 0
        assert (image - seen[-1]).abs().max() < 0.5 / min(std) + 1e-3
        truth = sample.truth.gt_instances
        for box, mask in zip(truth.bboxes.numpy(), truth.masks.masks, strict=True):
            rows, columns = np.nonzero(mask)
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert np.abs(box - edges).max() < 3


def test_colours_are_right_side_up(root, tmp_path):
    """A red image stays red through channel order and normalisation."""
    shutil.copytree(root / "mini", tmp_path / "mini")
    for path in (tmp_path / "mini/train").glob("*.jpg"):
        cv2.imwrite(str(path), np.full_like(cv2.imread(str(path)), (0, 0, 255)))
    for config in (SHAPES, LABEL_SHAPES):
        dataset, preprocessor = open_split(load(config, tmp_path))
        image = samples.take(dataset, 0, preprocessor, 0, training=True).image
        height, width = dataset[0]["inputs"].shape[1:]
        red = image[: height // 2, : width // 2].reshape(-1, 3).mean(axis=0)
        assert red[0] > 250 and red[1] < 5 and red[2] < 5


def test_validation_truth_lies_on_the_resized_picture(root):
    cfg = load(SHAPES, root)
    dataset, preprocessor = open_split(cfg, "val")
    sample = samples.take(dataset, 1, preprocessor, 0, training=False)
    with DefaultScope.overwrite_default_scope("mmdet"):
        plain = samples.build_dataset(cfg.val_dataloader.dataset)[1]["data_samples"]
    scale = np.tile(plain.scale_factor, 2)
    boxes = sample.truth.gt_instances.bboxes.numpy()
    assert np.allclose(boxes, plain.gt_instances.bboxes.tensor.numpy() * scale, atol=1e-3)
    assert not np.allclose(scale, 1)


def test_crowds_are_crossed_out(root):
    dataset, preprocessor = open_split(load(SHAPES, root))
    content = json.loads((root / "mini/annotations/instances_train.json").read_text())
    place = next(
        i for i in range(len(dataset))
        if dataset.get_data_info(i)["img_id"] == content["annotations"][0]["image_id"]
    )  # fmt: skip
    sample = samples.take(dataset, place, preprocessor, 0, training=True)
    assert len(sample.truth.ignored_instances) == 1
    marked = np.asarray(instances.overlay(sample, class_colours(6), tuple("abcdef")))
    factor = drawing.enlarge(sample.image)
    left, top, right, bottom = (sample.truth.ignored_instances.bboxes[0] * factor).tolist()
    middle = marked[int((top + bottom) / 2), int((left + right) / 2)]
    assert np.abs(middle.astype(int) - instances.IGNORED).max() < 5


def test_ignored_pixels_are_striped_and_others_coloured(root):
    dataset, preprocessor = open_split(load(LABEL_SHAPES, root))
    sample = samples.take(dataset, 0, preprocessor, 0, training=True)
    truth = sample.truth.gt_sem_seg.data
    truth[:] = 2
    truth[..., :40, :] = 255
    colours = class_colours(7)
    marked = labels.overlay(sample, colours, tuple("abcdefg"))
    assert labels.shown_classes(sample) == [2]
    small = np.asarray(marked.resize(sample.image.shape[1::-1], Image.Resampling.NEAREST)).astype(
        int
    )
    expected = 0.35 * sample.image[60] + 0.65 * colours[2]
    assert np.abs(small[60] - expected).max() <= 1
    row = small[20] - 0.45 * sample.image[20]
    assert row.max() - row.min() > 40  # stripes


def test_colours_of_classes_differ():
    colours = class_colours(24).astype(int)
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=2) + 999 * np.eye(24, dtype=int)
    assert apart.min() > 40


def test_names_in_any_alphabet_and_thin_pictures():
    names = ["weiß", "машина", "très long " * 9]
    strip = drawing.legend(names, class_colours(3), 300)
    assert strip.width == 300 and strip.height == 2 * 24 + 12
    sheet = drawing.contact_sheet([Image.new("RGB", (2000, 1))], ["a"], names, class_colours(3))
    assert sheet.width > 400 and drawing.legend([], class_colours(0), 100) is None


def test_wrong_requests_are_one_sentence(root, tmp_path):
    cfg = load(SHAPES, root)
    with pytest.raises(UserError, match="--number must be at least 1"):
        browse(cfg, "train", tmp_path, number=0, seed=0)
    cfg.default_scope = "mmpretrain"
    with pytest.raises(UserError, match="cannot be browsed"):
        browse(cfg, "train", tmp_path, number=1, seed=0)
