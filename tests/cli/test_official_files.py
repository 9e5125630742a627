"""The official release's detectors and segmentors, through the roads that a user takes.

The files are not here: they are made by the rule of ``official_models.py``, which was compared
once with the models that mmdet 2.11.0 and mmsegmentation 0.11.0 build (docs/official_files.md).
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope

from convnext_dense import weights
from convnext_dense.cli import test
from convnext_dense.config.load import load_config
from convnext_dense.data.class_names import class_names
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.engine.runner import build_runner
from convnext_dense.errors import UserError
from convnext_dense.predictor import Predictor
from convnext_dense.runs.starting_weights import choose_weights
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import compare
from tests.cli.test_tools import run
from tests.datasets.test_labels import MINI
from tests.miniature import SHAPES
from tests.weights import official_models as official
from tests.weights.official_models import Sizes, old_checkpoint, random_values, save_old, spread

CONFIGS = Path(__file__).parents[2] / "configs"
SEGMENTOR = CONFIGS / "segmentation/upernet_convnext_a_shapes.py"
# sha256 of the names, one a line, in mmdet 2.11.0's coco.py and mmsegmentation 0.11.0's ade.py.
OLD_NAMES = {
    "CocoDataset": "d7654b26101572841ed1cd80aa03aa60e35f1b8acb4aea6906c4066886f16e07",
    "ADE20KDataset": "2133f0a0e71146d00a14482f872bc5888f66d706f90f1b1333a7eb5025989af9",
}
KINDS = {
    "CocoDataset": ("mmdet", "detection/mask_rcnn_convnext_t_3x.py"),
    "ADE20KDataset": ("mmseg", "segmentation/upernet_convnext_t_512_160k.py"),
}
MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


def names_of(kind: str) -> tuple[str, ...]:
    """The class names of a dataset type of the toolboxes that are installed."""
    scope, config = KINDS[kind]
    load_config(CONFIGS / config)  # registers what the toolbox has
    with DATASETS.switch_scope_and_registry(scope) as registry:
        return tuple(registry.get(kind).METAINFO["classes"])


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """COCO's and ADE20K's validation folders with one image each."""
    root = tmp_path_factory.mktemp("official")
    picture = np.random.default_rng(0).integers(0, 256, (97, 150, 3), np.uint8)
    ade = root / "ade/ADEChallengeData2016"
    for folder in (
        root / "coco/annotations",
        root / "coco/val2017",
        ade / "images/validation",
        ade / "annotations/validation",
    ):
        folder.mkdir(parents=True)
    cv2.imwrite(str(root / "coco/val2017/1.png"), picture)
    cv2.imwrite(str(ade / "images/validation/1.jpg"), picture)
    cv2.imwrite(str(ade / "annotations/validation/1.png"), picture[..., 0] % 151)
    square = dict(bbox=[5, 5, 20, 20], segmentation=[[5, 5, 25, 5, 25, 25, 5, 25]], area=400)
    coco = dict(
        images=[dict(id=1, file_name="1.png", height=97, width=150)],
        annotations=[dict(square, id=1, image_id=1, category_id=1, iscrowd=0)],
        categories=[dict(id=i + 1, name=n) for i, n in enumerate(names_of("CocoDataset"))],
    )
    (root / "coco/annotations/instances_val2017.json").write_text(json.dumps(coco))
    return root


def flags_of(config: Path, root: Path, checkpoint: Path | str, **options) -> test.TestFlags:
    """The flags of ``tools/test.py``."""
    return test.TestFlags(config, str(checkpoint), data_root=root, cfg_options=options or None)


def prepare(config: Path, root: Path, checkpoint: Path) -> Config:
    """The config as ``tools/test.py`` settles it for this checkpoint."""
    cfg = test.test_config(flags_of(config, root, checkpoint), str(checkpoint))
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.mark.parametrize("kind", OLD_NAMES)
def test_class_names_did_not_change_between_the_toolboxes(kind):
    assert hashlib.sha256("\n".join(names_of(kind)).encode()).hexdigest() == OLD_NAMES[kind]


STRIPPED = ("coco/cascade_mask_rcnn_convnext_tiny_1k_3x", "ade20k/upernet_convnext_tiny_1k_512x512")


@pytest.mark.parametrize(
    ("name", "stripped"),
    [*((name, False) for name in official.MODELS), *((name, True) for name in STRIPPED)],
)
def test_every_official_file_fills_its_model(name, stripped, root, tmp_path):
    detector = name.startswith("coco")
    model = official.MODELS[name]
    names = names_of("CocoDataset" if detector else "ADE20KDataset")
    content = old_checkpoint(spread(model.shapes), names, "mmdet" if detector else "mmseg")
    if stripped:
        content = {"state_dict": content["state_dict"]}
    path = save_old(tmp_path / "file.pth", content)
    cfg = prepare(CONFIGS / f"{model.config}.py", root, path)
    assert cfg.load_from == str(path)
    assert cfg.test_dataloader.dataset.metainfo["classes"] == names
    with torch.device("meta"):
        built = MODELS.build(cfg.model)
    state, differences = compare(built, read_checkpoint(path))
    assert differences == "" and len(state) == len(model.shapes)
    built.load_state_dict(state, strict=True, assign=True)
    loaded = built.state_dict()
    assert {name: tuple(value.shape) for name, value in loaded.items()} == model.shapes
    for key, value in spread(model.shapes).items():  # every value has come, to its own place
        assert torch.equal(loaded[key].flatten()[:1], value.flatten()[:1])


@pytest.mark.parametrize("name", official.MODELS)
def test_every_config_normalises_as_the_release(name):
    cfg = load_config(CONFIGS / f"{official.MODELS[name].config}.py")
    # img_norm_cfg of the release's configs, with to_rgb=True; images are read as BGR.
    preprocessor = cfg.model.data_preprocessor
    assert (*preprocessor.mean, *preprocessor.std) == (*MEAN, *STD)
    assert preprocessor.bgr_to_rgb is True and not preprocessor.get("rgb_to_bgr")
    load, resize, *_ = cfg.test_dataloader.dataset.pipeline
    assert load == dict(type="LoadImage")
    size = 640 if "640" in name else 512
    scale = (1333, 800) if name.startswith("coco") else (4 * size, size)
    assert resize == dict(type="Resize", scale=scale, keep_ratio=True)
    if name.startswith("coco"):
        assert preprocessor.pad_size_divisor == 32 and not preprocessor.get("pad_value")
        # mmdet 2.11 drops no proposal at min_bbox_size=0; mmdet 3 drops those without area.
        assert cfg.model.test_cfg.rpn.min_bbox_size == -1
    else:  # 2/3 of the crop, as in the release's *_ss.py
        stride = {512: 341, 640: 426}[size]
        expected = dict(mode="slide", crop_size=(size, size), stride=(stride, stride))
        assert cfg.model.test_cfg == expected


@pytest.mark.parametrize("family", ["coco/mask", "ade20k"])
def test_the_model_sees_the_numbers_of_the_old_pipeline(family, root, tmp_path):
    name = next(name for name in official.MODELS if name.startswith(family))
    model = official.MODELS[name]
    path = save_old(tmp_path / "file.pth", {"state_dict": spread(model.shapes)})
    cfg = prepare(CONFIGS / f"{model.config}.py", root, path)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    sample = dataset[0]
    data = MODELS.build(cfg.model.data_preprocessor)(pseudo_collate([sample]), False)
    picture = cv2.imread(sample["data_samples"].img_path)  # BGR
    height, width = picture.shape[:2]
    longest, shortest = (1333, 800) if family == "coco/mask" else (2048, 512)
    scale = min(longest / max(height, width), shortest / min(height, width))
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    expected = (resized[..., ::-1].astype(np.float64) - MEAN) / STD  # to RGB, then normalised
    if family == "coco/mask":  # then padded, with zeros
        rows, columns = (-length % 32 for length in expected.shape[:2])
        expected = np.pad(expected, ((0, rows), (0, columns), (0, 0)))
    (found,) = data["inputs"].numpy()
    assert found.shape == expected.transpose(2, 0, 1).shape
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), rtol=0, atol=1e-6)


# A small model of each kind that runs: the embedded configs' sizes.
SMALL = Sizes(6, channels=64, box_convs=1, box_fc=256, mask_convs=2)
SMALL_SEGMENTOR = Sizes(7, channels=32, auxiliary=32)


@pytest.fixture(scope="module")
def small(tmp_path_factory, data_root) -> dict[str, Path]:
    """Small models in the old form, without ``meta``, and in this project's form."""
    folder = tmp_path_factory.mktemp("small")
    text = (data_root / "mini/annotations/instances_val.json").read_text()
    names = {
        "detector": tuple(category["name"] for category in json.loads(text)["categories"]),
        "segmentor": tuple((data_root / "mini/classes.txt").read_text().split()),
    }
    states = {
        "detector": random_values(official.cascade("atto", SMALL)),
        "segmentor": random_values(official.upernet("atto", SMALL_SEGMENTOR)),
    }
    files = {}
    for kind, state in states.items():
        toolbox = "mmdet" if kind == "detector" else "mmseg"
        ours = dict(state_dict=state, meta=dict(dataset_meta=dict(classes=names[kind])))
        for form, content in (
            ("old", old_checkpoint(state, names[kind], toolbox)),
            ("stripped", state),
            ("ours", ours),
        ):
            files[f"{form} {kind}"] = save_old(folder / f"{form}_{kind}.pth", content)
    return files


@pytest.fixture
def detector_flags(data_root, options) -> list:
    return ["--data-root", data_root, "--cfg-options", *(f"{k}={v}" for k, v in options.items())]


def results(config: Path, root: Path, file: Path, work_dir: Path, options: dict) -> list[dict]:
    """What ``tools/test.py`` finds in two images, without its process."""
    files = dict(out=str(work_dir / "out.json"), work_dir=str(work_dir))
    flags = replace(flags_of(config, root, file, **options), limit=2, **files)
    test.test(flags)
    return json.loads(Path(flags.out).read_text())


@pytest.mark.slow
def test_the_tool_tests_an_old_detector_as_our_own(
    small, detector_flags, data_root, options, tmp_path
):
    out = tmp_path / "old.json"
    more = ["--limit", 2, "--out", out, "--work-dir", tmp_path / "old", *detector_flags]
    output = run("test", SHAPES, small["old detector"], *more)
    assert f"Loaded {small['old detector']}" in output and "bbox_mAP" in output
    old = json.loads(out.read_text())
    assert len(old) == 10 and all("segmentation" in found for found in old)
    assert old == results(SHAPES, data_root, small["ours detector"], tmp_path, options)


@pytest.mark.both_paths(slow=True)
def test_an_old_segmentor_is_tested_as_our_own(small, data_root, tmp_path):
    config = tmp_path / "with_batch_norm.py"  # as in the release; the miniature has group norm
    norm = "norm_cfg=dict(_delete_=True, type='SyncBN', requires_grad=True)"
    config.write_text(
        f"_base_ = [{str(SEGMENTOR)!r}]\n"
        f"model = dict(decode_head=dict({norm}), auxiliary_head=dict({norm}))\n"
    )
    old, ours = (
        results(config, data_root, small[f"{form} segmentor"], tmp_path / form, MINI)
        for form in ("old", "ours")
    )
    assert old == ours and len(old) == 2 and old[0]["mIoU"] > 0


def test_foreign_and_partial_files_are_one_sentence(small, data_root, options, tmp_path):
    def refusal(state: dict, meta: dict | None = None) -> str:
        path = save_old(tmp_path / "f.pth", {"state_dict": state, "meta": meta or {}})
        with pytest.raises(UserError) as error:
            Predictor(SHAPES, path, device="cpu")
        return str(error.value)

    classes = dict(CLASSES=tuple("abcdef"))
    state = random_values(official.cascade("atto", SMALL))
    one_stage = official.mask_rcnn("atto", SMALL)
    assert "is not a checkpoint of" in refusal(random_values(one_stage), classes)
    without = {name: value for name, value in state.items() if "bbox_head.2" not in name}
    assert "missing (roi_head.bbox_head.2" in refusal(without, classes)
    without = {name: value for name, value in state.items() if "roi_head" not in name}
    assert "another kind of model" in refusal(without, classes)
    assert "names no classes" in refusal(state)
    path = str(small["old segmentor"])
    with pytest.raises(UserError, match=f"{path} is a checkpoint of another kind of model"):
        test.test_config(flags_of(SHAPES, data_root, path, **options), path)


def test_another_order_of_the_categories_is_refused(small, data_root, options, tmp_path):
    content = json.loads((data_root / "mini/annotations/instances_val.json").read_text())
    content["categories"].reverse()
    (tmp_path / "val.json").write_text(json.dumps(content))
    options = {**options, "test_dataloader.dataset.ann_file": str(tmp_path / "val.json")}
    with pytest.raises(UserError, match="lists its categories in another order"):
        old = str(small["old detector"])
        test.test_config(flags_of(SHAPES, data_root, old, **options), old)


@pytest.mark.both_paths(slow=True)
def test_an_old_file_predicts(small):
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    found = {}
    for form in ("old", "ours"):
        predictor = Predictor(SHAPES, small[f"{form} detector"], device="cpu", score_threshold=0.1)
        found[form] = predictor(picture).pred_instances
    assert len(found["old"]) and predictor.classes[0] == "circle"
    assert torch.equal(found["old"].bboxes, found["ours"].bboxes)
    assert (found["old"].masks == found["ours"].masks).all()


def test_files_without_meta_take_the_data_sets_names():
    cfg = load_config(CONFIGS / "detection/cascade_convnext_t_3x.py")
    bare = {"state_dict": spread(official.cascade("tiny"))}
    assert class_names(cfg, bare, "x.pth") == names_of("CocoDataset")
    assert class_names(cfg, {**bare, "meta": {"CLASSES": ("a", "b")}}, "x.pth") == ("a", "b")
    other = {"state_dict": spread(official.cascade("tiny", Sizes(7)))}
    with pytest.raises(UserError, match="x.pth names no classes"):
        class_names(cfg, other, "x.pth")


def test_a_training_starts_from_an_old_detector(small, detector_flags, tmp_path):
    state = random_values(official.cascade("atto", Sizes(3, 64, 1, 256, 2)))
    other = save_old(tmp_path / "3.pth", old_checkpoint(state, ("a", "b", "c")))
    flags = ["--max-iters", 1, "--work-dir", tmp_path / "w", *detector_flags]
    output = run("train", SHAPES, "--load-from", other, *flags)
    assert f"{other} fills the model in part: 18 of another shape (roi_head.bbox_head" in output
    assert "missing" not in output.split("fills the model")[1].splitlines()[0]


def test_a_training_refuses_a_foreign_backbone(data_root, options, tmp_path):
    state = random_values(official.convnext(*official.ARCHS["atto"]))
    state = {name.removeprefix("backbone."): value for name, value in state.items()}
    classifier = save_old(tmp_path / "c.pth", {"model": state})
    cfg = load_fitted_config(
        SHAPES, data_root=data_root, cfg_options=options, splits=("train", "val")
    )
    cfg.work_dir, cfg.load_from = str(tmp_path / "w"), str(classifier)
    with pytest.raises(UserError, match="c.pth does not hold this config's backbone"):
        build_runner(cfg).train()


def test_a_training_fetches_an_official_detector_by_name(monkeypatch, tmp_path):
    name, fetched = "coco/cascade_mask_rcnn_convnext_tiny_1k_3x", []
    monkeypatch.setattr(weights, "local_file", fetched.append)
    cfg = load_config(CONFIGS / "detection/cascade_convnext_t_3x.py")
    cfg.work_dir = str(tmp_path)
    choose_weights(cfg, load_from=name)
    assert fetched == [name] and cfg.load_from == name and cfg.model.backbone.init_cfg is None
    with pytest.raises(UserError, match="--load-from names coco/cascade, which does not exist"):
        choose_weights(cfg, load_from="coco/cascade")
