"""--dry-run through the engine: a page, the run's own parts, and nothing left behind."""

import json
import tempfile
import uuid
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image

from convnext_dense.cli import train
from convnext_dense.cli.main import parse_tool
from convnext_dense.config.load import load_config
from convnext_dense.config.names import find_shipped
from convnext_dense.data.head_classes import set_num_classes
from convnext_dense.errors import UserError
from convnext_dense.preflight.dry_run_page import describe_heads
from tests.config.test_load import SHAPES
from tests.datasets.test_labels import SHAPES as LABEL_SHAPES

CLASSIFIER = Path(__file__).parents[2] / "configs/classification/convnext_a_shapes.py"


def run(capsys, config, *flags) -> str:
    # mmengine keeps visualizers by name, with the folder of the run that built them.
    name = ["--cfg-options", f"visualizer.name={uuid.uuid4()}"]
    command, args = parse_tool("train", [str(config), *map(str, flags), *name])
    capsys.readouterr()
    command.run(args)
    return capsys.readouterr().out


def rows(page: str) -> dict[str, str]:
    lines = page[page.index("Dry run of") :].splitlines()[1:-1]
    start = len(lines[0]) - len(lines[0].removeprefix("  environment").lstrip())
    return {line[:start].strip(): line[start:] for line in lines}


@pytest.fixture
def places(tmp_path, monkeypatch):
    """An empty folder to work in and one for temporary files: both must stay empty."""
    for name in ("here", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    yield tmp_path
    assert not list((tmp_path / "here").iterdir()) and not list((tmp_path / "tmp").iterdir())


def test_a_detector_on_own_data(birds, places, capsys):
    content = json.loads((birds / "train.json").read_text())
    content["annotations"][0]["iscrowd"] = 1
    for split, text in (("train", json.dumps(content)), ("val", (birds / "val.json").read_text())):
        (birds / f"{split}.json").write_text(text, encoding="utf-8-sig")  # as Windows writes it
    names = {category["id"]: category["name"] for category in content["categories"]}
    counts = [names[a["category_id"]] for a in content["annotations"] if not a.get("iscrowd")]
    flags = ["--train-json", birds / "train.json", "--val-json", birds / "val.json"]
    flags += ["--images", birds / "images", "--dry-run"]
    found = rows(run(capsys, SHAPES, *flags))
    assert f"10 images, {len(content['annotations'])} annotations" in found["train data"]
    assert sorted(found["instances"].split(" (")[0].split(", ")) == sorted(
        f"{name} {counts.count(name)}" for name in names.values()
    )
    assert found["classes"].startswith("6: ") and "roi_head.mask_head 6" in found["heads"]
    assert "loss_mask" in found["training step"] and "nan" not in found["training step"]
    assert found["evaluation"].startswith("2 images, bbox_mAP ")
    assert "annotations have iscrowd = 1: nothing is trained on them" in found["note"]
    assert (
        "--auto-scale-lr" in found["learning rate"]
        or "x 4 / 4" in found["learning rate"]
        or (found["learning rate"] == "0.002")
    )


def test_a_segmentor(data_root, places, capsys):
    flags = [f"{s}_dataloader.dataset.data_root=mini/" for s in ("train", "val", "test")]
    found = rows(run(capsys, LABEL_SHAPES, "--data-root", data_root, "--dry-run",
                     "--cfg-options", *flags, "train_dataloader.batch_size=4"))  # fmt: skip
    assert found["pixels"].startswith("background ") and "(of 10 labels)" in found["pixels"]
    assert found["heads"] == "decode_head 7, auxiliary_head 7"
    assert found["batch"] == "4 images a step in one process; the recipe has 2"
    assert "--auto-scale-lr makes it 0.008" in found["learning rate"]
    assert found["evaluation"].startswith("2 images, mIoU ")


def test_every_head_of_a_panoptic_model_is_named():
    model = load_config(find_shipped("panoptic_fpn_convnext_t_1x")).model
    set_num_classes(model, 4, "the data", stuff=3)
    assert sorted(describe_heads(Config(dict(model=model))).split(", ")) == [
        "panoptic_fusion_head 4 things + 3 stuff",
        "roi_head.bbox_head 4",
        "roi_head.mask_head 4",
        "semantic_head 4 things + 3 stuff",
    ]


def test_a_classifier(tmp_path, places, capsys):
    for name, count in (("cat", 5), ("dog", 3)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (40, 40)).save(tmp_path / "pets" / name / f"{number}.png")
    flags = [f"{s}_dataloader.dataset.data_root=pets" for s in ("train", "val", "test")]
    flags += ["train_dataloader.batch_size=4"]
    found = rows(run(capsys, CLASSIFIER, "--data-root", tmp_path, "--dry-run", "--scan",
                     "--cfg-options", *flags))  # fmt: skip
    assert found["images"] == "cat 5, dog 3" and found["heads"] == "backbone 2"
    assert "2 images, top1 " in found["evaluation"] and "top1_ema" in found["evaluation"]


def flags_of(data_root, options, **more) -> list[str]:
    pairs = [f"{key}={value}" for key, value in {**options, **more}.items()]
    return ["--data-root", data_root, "--cfg-options", *pairs]


def test_a_loss_that_is_no_number(data_root, options, places, capsys):
    broken = {"model.rpn_head.loss_cls.loss_weight": "1e39"}
    with pytest.raises(UserError, match="first training step gives .*loss_rpn_cls nan"):
        run(capsys, SHAPES, *flags_of(data_root, options, **broken), "--dry-run")


def test_a_folder_in_use(data_root, options, places, tmp_path, capsys):
    used = tmp_path / "used"
    used.mkdir()
    (used / "lr_groups.csv").touch()
    flags = [*flags_of(data_root, options), "--dry-run", "--work-dir", used]
    with pytest.raises(UserError, match="used holds a run already"):
        run(capsys, SHAPES, *flags)
    assert [path.name for path in used.iterdir()] == ["lr_groups.csv"]


@pytest.mark.parametrize("flag", ["--dry-run", "--scan"])
def test_several_processes(flag, data_root, options, places, capsys, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, str(int(name == "WORLD_SIZE")))
    with pytest.raises(UserError, match="runs in one process"):
        run(capsys, SHAPES, *flags_of(data_root, options), flag, "--launcher", "pytorch")


def test_the_quick_part_comes_before_the_model(birds, places, capsys, monkeypatch):
    def build(cfg):
        raise AssertionError("a model was built")

    monkeypatch.setattr(train, "build_runner", build)
    flags = ["--train-json", birds / "train.json", "--val-json", birds / "val.json"]
    flags += ["--images", birds / "images", "--work-dir", places / "run"]
    with pytest.raises(AssertionError, match="a model was built"):
        run(capsys, SHAPES, *flags)
    next((birds / "images").glob("val_*.jpg")).write_bytes(b"")
    with pytest.raises(UserError, match="1 of 6 opened images"):
        run(capsys, SHAPES, *flags)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "train_dataloader.batch_size=four",
            "batch_size must be .* from 1 on, got 'four'",
        ),
        ("train_dataloader.batch_size=0", "train_dataloader.batch_size must be .* got 0"),
        ("val_dataloader.num_workers=-1", "val_dataloader.num_workers must be .* got -1"),
        ("optim_wrapper.optimizer.lr=-1.0", "optimizer.lr must be a number from 0 on, got -1.0"),
        ("optim_wrapper.optimizer.eps=-1.0", "The config cannot be built: Invalid epsilon value"),
        ("train_cfg.max_epochs=1.5", "train_cfg.max_epochs must be a whole number"),
        ("model.backbone.drop_path_rate=abc", "drop_path_rate must lie between .* got 'abc'"),
    ],
)
def test_values_that_no_run_can_have(setting, message, data_root, options, places, capsys):
    flags = [*flags_of(data_root, options), setting, "--dry-run"]
    with pytest.raises(UserError, match=message):
        run(capsys, SHAPES, *flags)


def test_a_root_that_somebody_named_is_not_made(places, capsys):
    with pytest.raises(UserError, match="There is no data root .*nowhere: correct --data-root"):
        run(capsys, SHAPES, "--data-root", places / "nowhere", "--dry-run")
    assert not (places / "nowhere").exists()


def test_weights_of_another_task_are_told(data_root, options, places, capsys, tmp_path):
    cfg = load_config(LABEL_SHAPES)
    backbone = MODELS.build(cfg.model.backbone).state_dict()
    state = {f"backbone.{name}": value for name, value in backbone.items()}
    state["decode_head.conv_seg.bias"] = torch.zeros(7)
    torch.save(dict(state_dict=state), tmp_path / "labels.pth")
    flags = [*flags_of(data_root, options), "--dry-run", "--load-from", tmp_path / "labels.pth"]
    found = rows(run(capsys, SHAPES, *flags))
    assert found["weights"].startswith(f"{len(backbone)} of the model's ")
    assert "neck" in found["weights"] and "decode_head" in found["weights"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_picture_too_thin_to_resize(split, birds, places, capsys):
    content = json.loads((birds / f"{split}.json").read_text())
    image = content["images"][-1]
    Image.new("RGB", (3000, 1)).save(birds / "images" / image["file_name"])
    image.update(width=3000, height=1)
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != image["id"]]
    (birds / f"{split}.json").write_text(json.dumps(content))
    flags = ["--train-json", birds / "train.json", "--val-json", birds / "val.json"]
    with pytest.raises(UserError, match=f"{image['file_name']} cannot be resized or cut"):
        run(capsys, SHAPES, *flags, "--images", birds / "images", "--dry-run")


def test_a_class_without_a_readable_picture(tmp_path, places, capsys):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(3):
            path = tmp_path / "pets" / name / f"{number}.png"
            Image.new("RGB", (40, 40)).save(path)
            if name == "dog":
                path.write_bytes(path.read_bytes()[:40])
    flags = [f"{s}_dataloader.dataset.data_root=pets" for s in ("train", "val", "test")]
    with pytest.raises(UserError, match="3 of 3 opened images of .*pets/dog .*cannot be read"):
        run(capsys, CLASSIFIER, "--data-root", tmp_path, "--dry-run", "--cfg-options", *flags)
