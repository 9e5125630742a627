"""Augmented samples are true: boxes are the masks' extents, nothing lies outside, classes stay."""

import argparse
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image

from convnext_dense.browse.samples import build_dataset
from convnext_dense.cli import browse
from convnext_dense.cli.flags.browse import add_flags
from convnext_dense.cli.shared.finetune_arguments import AUGMENT
from convnext_dense.data.fit import load_fitted_config, settle_with_data
from convnext_dense.data.seeded_random import seeded_random
from convnext_dense.detection.augment.scene import (
    MIN_VISIBLE,
    Scene,
    compose,
    cut,
    extents,
    read_scene,
)
from convnext_dense.detection.augment.steps import paste
from convnext_dense.engine.augmentation_seeds import seeded
from convnext_dense.engine.runner import DenseRunner
from convnext_dense.errors import UserError
from convnext_dense.finetune.augment import use_augmentation
from convnext_dense.finetune.mixing import Tile, draw_quarters, draw_tile
from convnext_dense.finetune.settle_data import settle_data
from convnext_dense.segmentation.mosaic import LabelMosaic
from tests.datasets.test_labels import SHAPES as LABEL_SHAPES
from tests.miniature import CONFIGS

DETECTOR = CONFIGS / "mask_rcnn_convnext_a_shapes.py"
CLASSIFIER = CONFIGS.parent / "classification/convnext_a_shapes.py"
CHOICES = [choice for choice in AUGMENT if choice != "recipe"]
OPTIONS = {
    "train_dataloader.dataset.data_root": "mini/",
    "train_dataloader.batch_size": 2,
    "train_dataloader.num_workers": 0,
}


def fitted(config, data_root, **options):
    return load_fitted_config(
        config, data_root=data_root, splits=("train",), cfg_options={**OPTIONS, **options}
    )


def random_scene(rng, size, ignored: bool = True) -> Scene:
    """Some rectangles and discs, one of them ignored; the image has the number of each object."""
    image, masks = np.zeros((*size, 3), np.uint8), []
    rows, columns = np.indices(size)
    for number in range(rng.integers(1, 6)):
        height, width = rng.integers(3, np.array(size))
        top, left = rng.integers(0, size[0] - height + 1), rng.integers(0, size[1] - width + 1)
        mask = np.zeros(size, bool)
        mask[top : top + height, left : left + width] = True
        if number % 2:
            y, x = (rows - top) / height - 0.5, (columns - left) / width - 0.5
            mask &= y**2 + x**2 < 0.25
        masks.append(mask)
    masks = np.array([m for m in masks if m.any()]).reshape(-1, *size)
    for number, mask in enumerate(masks):
        image[mask] = 10 * (number + 1)
    flags = np.zeros(len(masks), bool)
    flags[:1] = ignored
    return Scene(image, extents(masks), np.arange(len(masks)), flags, masks)


def loops_extents(masks) -> list[list[int]]:
    """The same by numpy's lists of positions."""
    found = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        found.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return found


def assert_true(scene: Scene) -> None:
    """Boxes are the masks' extents and lie inside; all parts have one length."""
    height, width = scene.size
    count = len(scene.labels)
    assert scene.boxes.shape == (count, 4) and len(scene.ignored) == count
    if scene.masks is not None:
        assert scene.masks.shape == (count, height, width) and scene.masks.any((1, 2)).all()
        assert np.array_equal(scene.boxes, np.array(loops_extents(scene.masks)).reshape(-1, 4))
    assert (scene.boxes[:, :2] >= 0).all() and (scene.boxes[:, 2:] <= (width, height)).all()
    assert (scene.boxes[:, 2:] > scene.boxes[:, :2]).all()


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_gives_true_instances(choice, data_root):
    cfg = fitted(DETECTOR, data_root)
    use_augmentation(cfg, choice)
    steps = [step for step in cfg.train_dataloader.dataset.pipeline if step["type"][:4] != "Pack"]
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = build_dataset(cfg.train_dataloader.dataset, pipeline=steps)
        seen = 0
        for index in range(len(dataset)):
            for seed in range(4):
                with seeded_random(seed):
                    results = dataset[index]
                scene = read_scene(results)
                assert results["img_shape"] == results["img"].shape[:2]
                assert set(scene.labels) <= set(range(6))
                if choice != "none":  # mmdet's own resize moves boxes by parts of a pixel
                    assert_true(scene)
                seen += len(scene.labels)
    assert seen > 2 * len(dataset)


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice != "copy-paste"])
def test_every_choice_of_labels(choice, data_root):
    cfg = fitted(LABEL_SHAPES, data_root)
    use_augmentation(cfg, choice)
    steps = [step for step in cfg.train_dataloader.dataset.pipeline if step["type"][:4] != "Pack"]
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = build_dataset(cfg.train_dataloader.dataset, pipeline=steps)
        sizes = set()
        for seed in range(20):
            with seeded_random(seed):
                results = dataset[seed % len(dataset)]
            labels = results["gt_seg_map"]
            assert labels.shape == results["img"].shape[:2] == results["img_shape"]
            assert labels.dtype == np.uint8 and labels.max() < 7
            sizes.add(labels.shape)
    assert max(sizes) == (112, 112) and (len(sizes) > 1) == (choice == "lsj")


def test_a_tile_fills_its_place_and_cuts_image_and_labels_alike():
    rng = np.random.default_rng(0)
    with seeded_random(0):
        for _ in range(200):
            size = tuple(rng.integers(5, 200, 2))
            for place in draw_quarters((64, 96), (0.3, 0.7)):
                tile = draw_tile(size, place)
                left, top, right, bottom = tile.window
                assert 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]
                image = rng.integers(0, 255, (*size, 7)).astype(np.float32)
                assert tile.cut(image).shape == (*tile.size, 7)
                assert tile.cut(image[..., :1]).shape == (*tile.size, 1)
                assert set(np.unique(tile.cut(image[..., 0], nearest=True))) <= set(
                    np.unique(image[..., 0])
                )
            covered = np.zeros((64, 96), int)
            for left, top, right, bottom in draw_quarters((64, 96), (0.3, 0.7)):
                covered[top:bottom, left:right] += 1
            assert (covered == 1).all()


def test_a_mosaic_cuts_labels_as_its_images():
    """Labels are never mixed (0 and 200 would give others), and lie where the image has them."""
    rng = np.random.default_rng(4)
    samples = []
    for size in ((40, 50), (30, 30), (90, 20), (25, 70)):
        labels = np.kron(rng.integers(0, 2, (5, 5)), np.ones((18, 14)))[: size[0], : size[1]]
        labels = (200 * labels).astype(np.uint8)
        image = np.repeat(labels[..., None], 3, axis=2)
        samples.append(dict(img=image, gt_seg_map=labels, seg_fields=["gt_seg_map"]))
    with seeded_random(1):
        places = draw_quarters((64, 64), (0.3, 0.7))
        tiles = [
            draw_tile(sample["img"].shape[:2], place)
            for sample, place in zip(samples, places, strict=True)
        ]
    found = LabelMosaic((64, 64)).combine(dict(samples[0]), samples, tiles)
    assert found["img"].shape == (64, 64, 3) and found["img_shape"] == (64, 64)
    assert set(np.unique(found["gt_seg_map"])) == {0, 200}
    difference = np.abs(found["img"][..., 0].astype(int) - found["gt_seg_map"])
    assert (difference <= 100).mean() > 0.95 and (difference == 0).mean() > 0.75


def test_a_mosaic_keeps_what_it_shows():
    """At scale 1 each object's pixels on the canvas are those of its part."""
    rng = np.random.default_rng(1)
    for _ in range(30):
        scenes = [random_scene(rng, (40, 50)) for _ in range(4)]
        places = [(0, 0, 20, 30), (20, 0, 60, 30), (0, 30, 20, 60), (20, 30, 60, 60)]
        tiles = []
        for place in places:
            width, height = place[2] - place[0], place[3] - place[1]
            left, top = rng.integers(0, 50 - width + 1), rng.integers(0, 40 - height + 1)
            tiles.append(Tile((left, top, left + width, top + height), place))
        parts = [cut(scene, tile) for scene, tile in zip(scenes, tiles, strict=True)]
        whole = compose((60, 60), tiles, parts)
        assert_true(whole)
        expected = []
        for scene, tile in zip(scenes, tiles, strict=True):
            left, top, right, bottom = tile.window
            inside = scene.masks[:, top:bottom, left:right].sum((1, 2))
            kept = (inside > 0) & (
                (inside / scene.masks.sum((1, 2)) >= MIN_VISIBLE) | scene.ignored
            )
            expected += list(
                zip(inside[kept], scene.labels[kept], scene.ignored[kept], strict=True)
            )
        assert list(zip(whole.areas(), whole.labels, whole.ignored, strict=True)) == expected
        boxes_only = [Scene(s.image, s.boxes, s.labels, s.ignored, None) for s in scenes]
        assert_true(
            compose((60, 60), tiles, [cut(*p) for p in zip(boxes_only, tiles, strict=True)])
        )


def test_pasted_objects_cover_what_is_below():
    rng = np.random.default_rng(2)
    with seeded_random(2):
        for _ in range(50):
            target = random_scene(rng, (40, 50))
            source = random_scene(rng, tuple(rng.integers(20, 80, 2)), ignored=False)
            source = replace(source, labels=source.labels + 100)
            source.image[:] = np.maximum(source.image, 1) + 100
            before = target.image.copy()
            result = paste(target, source)
            assert_true(result)
            assert np.array_equal(target.image, before)  # the sample may be used again
            changed = (result.image != before).any(2)
            of_target = result.labels < 100
            for mask in result.masks[of_target]:
                assert not (mask & changed).any()
            # The last object of all lies on top: where it fits, it is whole.
            if source.size[0] <= 40 and source.size[1] <= 50:
                assert result.labels[-1] == source.labels[-1]
                assert result.masks[-1].sum() == source.areas()[-1]
            # An object that stays has a fifth of its pixels, an ignored region any.
            share = {label: area for label, area in zip(target.labels, target.areas(), strict=True)}
            for number in np.flatnonzero(of_target):
                left = result.masks[number].sum() / share[result.labels[number]]
                assert left >= MIN_VISIBLE or result.ignored[number]


def test_an_image_without_objects_takes_part():
    empty = Scene(np.zeros((40, 50, 3), np.uint8), np.zeros((0, 4), np.float32),
                  np.zeros(0, int), np.zeros(0, bool), np.zeros((0, 40, 50), bool))  # fmt: skip
    full = random_scene(np.random.default_rng(3), (40, 50))
    with seeded_random(0):
        assert len(paste(empty, full).labels) >= 1
        tile = draw_tile((40, 50), (0, 0, 30, 30))
        assert_true(cut(empty, tile))
        assert_true(compose((30, 30), [tile], [cut(empty, tile)]))


@pytest.mark.parametrize("choice", ["copy-paste", "mosaic"])
def test_samples_follow_from_their_seed_with_any_workers(choice, data_root):
    def epoch(workers: int) -> list:
        cfg = fitted(DETECTOR, data_root)
        use_augmentation(cfg, choice)
        cfg.train_dataloader.update(num_workers=workers)
        with DefaultScope.overwrite_default_scope("mmdet"):
            loader = seeded(DenseRunner.build_dataloader(cfg.train_dataloader, seed=3), seed=3)
            return [
                (image.numpy(), sample.gt_instances.bboxes.tensor.numpy())
                for batch in loader
                for image, sample in zip(batch["inputs"], batch["data_samples"], strict=True)
            ]

    for one, other in zip(epoch(0), epoch(2), strict=True):
        assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def test_what_a_choice_is_not_made_for_is_refused(data_root, birds):
    cfg = fitted(DETECTOR, data_root)
    for step in cfg.train_dataloader.dataset.pipeline:
        if step["type"] == "LoadAnnotations":
            step["with_mask"] = False
    with pytest.raises(UserError, match="the training data has boxes alone: take --augment mosaic"):
        use_augmentation(cfg, "copy-paste")
    cfg.model.roi_head.pop("mask_head")
    with pytest.raises(UserError, match="this model finds boxes alone, so it reads no masks: take"):
        use_augmentation(cfg, "copy-paste")
    use_augmentation(cfg, "mosaic")
    with pytest.raises(UserError, match="copy-paste is for instances, which label images do not"):
        use_augmentation(fitted(LABEL_SHAPES, data_root), "copy-paste")
    cfg = fitted(DETECTOR, data_root)
    cfg.train_dataloader.dataset.pipeline.pop()
    with pytest.raises(UserError, match="this one has no such steps: leave --augment out"):
        use_augmentation(cfg, "mild")
    cfg = SimpleNamespace(get={"default_scope": "mmengine"}.get)
    with pytest.raises(UserError, match="--augment mild is for detection and segmentation"):
        use_augmentation(cfg, "mild")


def test_the_resolved_config_holds_the_steps(data_root):
    settled = settle_with_data(DETECTOR, data_root=data_root, splits=("train",),
                               cfg_options=OPTIONS)  # fmt: skip
    recipe = str(settled.cfg.train_dataloader.dataset.pipeline)
    flags = SimpleNamespace(few=False, augment="recipe", balance=False)
    settle_data(settled, flags)
    assert str(settled.cfg.train_dataloader.dataset.pipeline) == recipe
    _, said = settle_data(settled, SimpleNamespace(few=False, augment="mosaic", balance=False))
    assert said == (
        "--augment mosaic: RandomFlip, RandomResize, RandomCrop, TidyInstances, InstanceMosaic"
    )
    pipeline = settled.cfg.train_dataloader.dataset.pipeline
    assert pipeline[-2] == dict(type="InstanceMosaic", size=(224, 224))
    assert "convnext_dense.detection.augment.steps" in settled.cfg.custom_imports["imports"]
    assert any(change.reason == "--augment mosaic" for change in settled.changes)


def test_browsing_shows_the_choice(data_root, tmp_path):
    parser = argparse.ArgumentParser()
    add_flags(parser)
    sizes = {}
    for choice in ("none", "mosaic"):
        words = [DETECTOR, "--data-root", data_root, "--out", tmp_path / choice, "--number", 4]
        args = parser.parse_args([*map(str, words), "--augment", choice])
        args.cfg_options = OPTIONS
        browse.run(args)
        samples = (tmp_path / choice).glob("sample_*")
        sizes[choice] = {Image.open(file).width for file in samples}
    # Two panels beside each other; squares of 224 pixels are among them now.
    assert sizes["mosaic"] - sizes["none"]
