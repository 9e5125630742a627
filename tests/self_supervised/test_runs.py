"""Whole runs by the command: their data, resuming bit for bit, handing over, refusals."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from convnext_dense.cli.flags import pretrain as flags_module
from convnext_dense.cli.main import main
from convnext_dense.config.load import load_config
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.engine import build_runner
from convnext_dense.export.exportable import exportable
from convnext_dense.export.run import ExportFlags, export
from convnext_dense.exported.loading import load_exported
from convnext_dense.inference.trained.loading import load_trained
from convnext_dense.models import ConvNeXt, Trunk
from convnext_dense.runs.signals import handling_signals
from convnext_dense.runs.starting_weights import choose_weights
from convnext_dense.self_supervised import MultiCropViews, SingleView, UnlabelledImages
from convnext_dense.self_supervised.preprocessing import ViewsPreprocessor
from convnext_dense.tasks import task_of
from convnext_dense.weights import load_pretrained, read_checkpoint
from tests.exact import assert_same_checkpoints
from tests.self_supervised.conftest import ARCH, draw

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = f"""
_base_ = ["{CONFIGS}/self_supervised/BASE.py"]
model = dict(backbone=dict(arch=dict(_delete_=True, **{ARCH}), drop_path_rate=0.3))
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False,
    dataset=dict(transform=dict(size=64)),
)
default_hooks = dict(checkpoint=dict(interval=1, by_epoch=False, max_keep_ckpts=-1))
visualizer = dict(vis_backends=[dict(type="JsonVisBackend")])
"""
METHODS = {
    "fcmae": TINY.replace("BASE", "fcmae_convnext_v2_t") + 'model["decoder_dim"] = 8',
    "distill": TINY.replace("BASE", "distill_convnext_t"),
}


@pytest.fixture(scope="module")
def configs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("configs")
    for method, text in METHODS.items():
        (folder / f"{method}.py").write_text(text)
    return {method: folder / f"{method}.py" for method in METHODS}


def settle(config: Path, images: Path, teacher: Path, work_dir: Path, **options) -> Config:
    """The config of eight iterations: steps of two batches, a checkpoint each."""
    if config.stem == "distill":
        options["model.teacher.checkpoint"] = str(teacher)
    options = {"train_dataloader.dataset.data_root": str(images), **options}
    cfg = load_fitted_config(config, splits=("train",), cfg_options=options)
    cfg.work_dir = cfg.experiment_name = str(work_dir)
    cfg.randomness = dict(seed=5)
    cfg.train_cfg.max_iters = 8
    cfg.optim_wrapper.accumulative_counts = 2
    return cfg


def train(cfg: Config) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Formatting the config for each checkpoint's meta takes longer than the training.
        patch.setattr(Config, "pretty_text", property(lambda cfg: str(cfg.filename)))
        with handling_signals():  # as the commands: what signals asked of runs before is forgotten
            build_runner(cfg).train()


@pytest.fixture(scope="module", params=METHODS)
def whole(request, configs, images, teacher, tmp_path_factory) -> tuple[str, Path]:
    """A method, and the folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    train(settle(configs[request.param], images, teacher, folder))
    return request.param, folder


@pytest.mark.parametrize(
    ("start", "workers"),
    [
        pytest.param(3, 0, id="resumed-inside-a-step"),
        pytest.param(6, 2, marks=pytest.mark.slow, id="resumed-in-the-second-epoch-with-workers"),
        pytest.param(0, 2, marks=pytest.mark.slow, id="repeated-with-workers"),
    ],
)
def test_a_run_equals_the_unbroken_one(whole, configs, images, teacher, tmp_path, start, workers):
    method, folder = whole
    options = {"train_dataloader.num_workers": workers}
    cfg = settle(configs[method], images, teacher, tmp_path, **options)
    if start:
        cfg.update(resume=True, load_from=str(folder / f"iter_{start}.pth"))
    train(cfg)
    assert_same_checkpoints(tmp_path / "iter_8.pth", folder / "iter_8.pth")


def test_the_backbone_is_handed_over(whole):
    """To the network of Mask R-CNN and UperNet; what is left behind is named."""
    method, folder = whole
    v2 = dict(use_grn=True, layer_scale_init_value=0) if method == "fcmae" else {}
    network = ConvNeXt(ARCH, **v2)
    report = load_pretrained(network, folder / "iter_8.pth")
    assert report.share == 1 and not report.missing and not report.unexpected
    left = {"fcmae": {"mask_token", "decoder"}, "distill": {"projections", "pooled_projection"}}
    assert set(report.ignored_heads) == left[method]
    assert all(part in str(report) for part in left[method])
    saved = read_checkpoint(folder / "iter_8.pth")["state_dict"]
    for name, value in network.state_dict().items():
        if not name.startswith("norm"):
            assert torch.equal(value, saved[f"backbone.{name}"]), name


DENSE = {
    "detection/mask_rcnn_convnext_a_shapes.py": {"model.neck.in_channels": [*ARCH["dims"]]},
    "segmentation/upernet_convnext_a_shapes.py": {
        "model.decode_head.in_channels": [*ARCH["dims"]],
        "model.auxiliary_head.in_channels": ARCH["dims"][2],
        "model.decode_head.num_classes": 3,
        "model.auxiliary_head.num_classes": 3,
    },
}


@pytest.mark.parametrize(
    ("words", "reason"),
    [(["test"], "has nothing to evaluate"), (["predict", "IMAGES"], "and predicts nothing")],
)
def test_it_is_no_model_to_test_or_predict_with(whole, configs, words, reason, places, capsys):
    method, folder = whole
    found = [str(places.get(word, word)) for word in words]
    with pytest.raises(SystemExit) as end:
        main([found[0], str(configs[method]), str(folder / "iter_8.pth"), *found[1:]])
    assert end.value.code == 2 and reason in capsys.readouterr().err


@pytest.fixture(scope="module")
def work_folder(whole, configs, images, teacher, tmp_path_factory) -> Path:
    """The folder as a run leaves it: the checkpoint stores the config, the teacher is elsewhere."""
    method, folder = whole
    place = tmp_path_factory.mktemp("work")
    content = torch.load(folder / "iter_8.pth", weights_only=False)
    cfg = settle(configs[method], images, teacher, place)
    cfg.model.pop("teacher", None)
    content["meta"]["cfg"] = cfg.pretty_text
    torch.save(content, place / "iter_8.pth")
    (place / "lr_groups.csv").write_text("")
    return place


def test_a_work_folder_is_a_teacher_too(work_folder, configs, images, tmp_path):
    cfg = settle(configs["distill"], images, work_folder, tmp_path)
    assert cfg.model.teacher.checkpoint == str(work_folder / "iter_8.pth")


@pytest.mark.parametrize("words", [["predict", "IMAGES"], ["push"], ["export"]])
def test_its_work_folder_is_no_model(work_folder, words, places, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [words[0], str(work_folder), *(str(places[word]) for word in words[1:])]
    with pytest.raises(SystemExit) as end:
        main([*words, *(["--to-folder", "made"] if words[0] == "push" else [])])
    said = capsys.readouterr().err
    assert end.value.code == 2 and "pretrained without labels, and predicts nothing" in said
    assert not [*tmp_path.iterdir()]


def test_its_feature_maps_are_those_of_the_file(work_folder):
    """As an export takes them: from pixels, without the norms that a detector begins with."""
    trained = load_trained(work_folder, device="cpu", part="backbone")
    module = exportable(trained.network, "backbone").module
    with_grn = "backbone.stages.0.0.grn.gamma" in trained.network.opened.content["state_dict"]
    blocks = dict(use_grn=True, layer_scale_init_value=0) if with_grn else {}
    trunk = Trunk(ARCH, **blocks).eval()
    load_pretrained(trunk, work_folder / "iter_8.pth")
    pixels = torch.randint(0, 256, (2, 3, 64, 96), generator=torch.Generator().manual_seed(0))
    data = dict(views=dict(inputs=pixels.byte()[:, None]), paths=[])
    with torch.no_grad():
        expected = list(trunk.stage_maps(ViewsPreprocessor()(data)["inputs"]))
        found = module(pixels.float())
    assert [map_.shape for map_ in found] == [map_.shape for map_ in expected]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_the_backbone_is_exported(work_folder, tmp_path):
    flags = ExportFlags(str(work_folder), part="backbone", out=str(tmp_path / "onnx"), number=1)
    folder, parity = export(flags)
    assert not parity.broken
    assert len(load_exported(folder)(np.zeros((64, 96, 3), np.uint8))) == len(ARCH["dims"])


@pytest.mark.slow
@pytest.mark.parametrize("recipe", DENSE)
def test_a_whole_model_starts_from_it(whole, recipe, tmp_path):
    """``--backbone-weights WORK_DIR``, then the runner initialises the weights."""
    method, folder = whole
    (tmp_path / "config.py").write_text(
        f'_base_ = ["{CONFIGS}/{recipe}"]\n'
        f"model = dict(backbone=dict(arch=dict(_delete_=True, **{ARCH})))\n"
    )
    options = dict(DENSE[recipe])
    if method == "fcmae":
        options |= {
            "model.backbone.use_grn": True, "model.backbone.layer_scale_init_value": 0,
        }  # fmt: skip
    cfg = load_config(tmp_path / "config.py", cfg_options=options)
    choose_weights(cfg, backbone_weights=str(folder))
    from mmengine.registry import MODELS, DefaultScope

    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    model.init_weights()
    saved = read_checkpoint(folder / "iter_8.pth")["state_dict"]
    assert torch.equal(
        model.backbone.stages[2][1].dwconv.weight, saved["backbone.stages.2.1.dwconv.weight"]
    )


def pretrain(*words) -> None:
    main(["pretrain", *map(str, words)])


@pytest.mark.slow
def test_the_command_needs_no_config(images, tmp_path, capsys):
    words = ["--method", "fcmae", "--images", images, "--arch", "atto", "--image-size", 32]
    words += ["--epochs", 40, "--max-iters", 1, "--work-dir", tmp_path / "run"]
    words += ["--cfg-options", "train_dataloader.num_workers=0",
              "train_dataloader.persistent_workers=False"]  # fmt: skip
    pretrain(*words)
    said = capsys.readouterr().out
    assert "train_dataloader.batch_size 64 -> 10: the 11 training images are fewer" in said
    assert "The learning rate is scaled with it" in said and "rate stays" not in said
    last = [line.strip() for line in said.splitlines() if line.strip()][-2:]
    assert [line.split()[2] for line in last] == [
        "upernet_convnext_a_shapes", "mask_rcnn_convnext_a_shapes",
    ]  # fmt: skip
    assert all("model.backbone.use_grn=True" in line for line in last)
    cfg = Config.fromfile(tmp_path / "run/fcmae_convnext_v2_t.py")
    assert cfg.model.patch_size == 8 and cfg.model.backbone.arch == "atto"
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler.warmup, cfg.param_scheduler.end) == (
        40,
        2,
        40,
    )


@pytest.mark.slow
def test_a_dry_run_shows_its_page(images, teacher, tmp_path, capsys):
    words = ["distill_convnext_t", "--images", images, "--teacher", teacher, "--arch", "atto"]
    pretrain(*words, "--image-size", 64, "--dry-run", "--work-dir", tmp_path / "run")
    said = capsys.readouterr().out
    assert "loss_pooled" in said and re.search(r"classes +none\n", said)
    assert re.search(r"evaluation +none\n", said)
    assert not (tmp_path / "run").exists()


REFUSED = {
    "neither config nor method": ([], "Name a config, .* or train without labels"),
    "two methods": (["fcmae_convnext_t", "--method", "distill"], "trains by the method fcmae"),
    "no folder": (["--method", "fcmae", "--images", "NONE"], "NONE, which is no folder"),
    "nowhere": (["--method", "fcmae"], "There is no folder .*data/images of images: name it with"),
    "empty folder": (["--method", "fcmae", "--images", "EMPTY"], "contains no images, at any"),
    "damaged images": (["--method", "fcmae", "--images", "BROKEN"], "3 of 3 opened images of"),
    "small images": (
        ["--method", "fcmae", "--images", "IMAGES", "--image-size", "256"],
        "has 12 x 12 pixels, less than a patch of 32",
    ),
    "odd size": (["--method", "fcmae", "--images", "IMAGES", "--image-size", "100"], "size 96"),
    "tiny size": (["--method", "fcmae", "--images", "IMAGES", "--image-size", "8"], "at least 32"),
    "no epochs": (["--method", "fcmae", "--images", "IMAGES", "--epochs", "0"], "at least 1"),
    "no teacher": (["--method", "distill", "--images", "IMAGES"], "name .* with --teacher"),
    "teacher is a folder": (
        ["--method", "distill", "--images", "IMAGES", "--teacher", "EMPTY"],
        "a folder that holds no checkpoint",
    ),
    "teacher of another kind": (
        ["--method", "distill", "--images", "IMAGES", "--teacher", "RESNET"],
        "RESNET.* is no ConvNeXt that can be read",
    ),
    "teacher of fcmae": (
        ["--method", "fcmae", "--images", "IMAGES", "--teacher", "RESNET"], "belongs to --method",
    ),
    "labels": (["--method", "fcmae", "--train-data", "IMAGES"], "--train-data needs labels"),
    "a score": (["--method", "fcmae", "--images", "IMAGES", "--early-stop", "3"], "or a score"),
    "images of a classifier": (
        ["convnext_a_shapes", "--images", "IMAGES"], "--images belongs to pretraining without",
    ),
    "epochs of a classifier": (["convnext_a_shapes", "--epochs", "3"], "--epochs belongs to"),
    "unknown size": (["--method", "fcmae", "--images", "IMAGES", "--arch", "giant"], "choose one"),
}  # fmt: skip


@pytest.fixture(scope="module")
def places(images, tmp_path_factory) -> dict[str, Path]:
    """What the words of ``REFUSED`` stand for."""
    root = tmp_path_factory.mktemp("places")
    (root / "EMPTY").mkdir()
    broken = draw(root / "BROKEN", 3)
    for path in broken.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    small = shutil.copytree(images, root / "IMAGES")
    Image.new("RGB", (12, 12)).save(small / "a.png")
    torch.save({"conv1.weight": torch.zeros(3, 3)}, root / "RESNET")
    return {path.name: path for path in root.iterdir()}


@pytest.mark.parametrize("case", REFUSED)
def test_each_refusal_is_one_sentence(case, places, tmp_path, monkeypatch, capsys):
    words, reason = REFUSED[case]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        pretrain(*[places.get(word, word) for word in words], "--work-dir", tmp_path / "run")
    said = capsys.readouterr().err.strip()
    assert end.value.code == 2 and said.startswith("error: ") and "\n" not in said
    assert re.search(reason, said), said
    assert not list((tmp_path / "run").glob("*.p*"))


def test_a_damaged_image_is_skipped_and_named(images, tmp_path):
    folder = Path(shutil.copytree(images, tmp_path / "some"))
    first = sorted(folder.rglob("*.png"))[0]
    first.write_bytes(b"torn")
    dataset = UnlabelledImages(str(folder), dict(type="SingleView", size=32))
    sample = dataset[0]
    assert sample["path"] != str(first) and sample["unreadable"][0][0] == str(first)


def test_views_have_their_sizes(images):
    image = UnlabelledImages(str(images), SingleView(96)).decode(0)
    assert SingleView(96)(image)["inputs"].shape == (1, 3, 96, 96)
    views = MultiCropViews(224, local_crops=3)(image)
    assert {k: tuple(v.shape) for k, v in views.items()} == {
        "inputs": (2, 3, 224, 224), "crops": (3, 3, 96, 96),
    }  # fmt: skip
    assert "crops" not in MultiCropViews(64, local_crops=0)(image)
    assert MultiCropViews(64)(image)["crops"].dtype == torch.uint8


@pytest.mark.parametrize("name", flags_module.METHODS.values())
def test_the_shipped_configs_are_of_this_task(name):
    cfg = load_config(CONFIGS / f"self_supervised/{name}.py")
    assert task_of(cfg).name == "self_supervised"
    assert task_of(cfg).datasets(cfg, "train") and not task_of(cfg).datasets(cfg, "val")
