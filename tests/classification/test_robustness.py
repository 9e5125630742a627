"""Suites and corruption errors against hand-computed ones, with a model whose answers are known."""

import json
from importlib import resources
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from PIL import Image
from timm.data import ImageNetInfo
from torch import nn

from convnext_dense.classification import ClassificationPreprocessor
from convnext_dense.classification.load_trained import TrainedClassifier, open_classifier
from convnext_dense.classification.robustness.corruption_tables import (
    ALEXNET_ERRORS,
    C_BAR_SEVERITIES,
)
from convnext_dense.classification.robustness.counting import Options
from convnext_dense.classification.robustness.evaluation import corruption_figures, evaluate
from convnext_dense.classification.robustness.suites import SUITES, subset_indices
from convnext_dense.errors import UserError
from convnext_dense.models import ConvNeXtClassifier, IsotropicConvNeXt
from convnext_dense.weights import convert
from tests.running import run_apart

WNIDS = tuple(ImageNetInfo("imagenet-1k").label_names())
LISTS = resources.files("timm.data") / "_info"
TINY = dict(depths=(1, 1, 2, 1), dims=(8, 8, 8, 8))


class ColourReader(nn.Module):
    """Answers with the number that an image's colour spells; after it the numbers beside it."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.num_classes = classes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red, green = x[:, 0].mean((1, 2)), x[:, 1].mean((1, 2))
        number = red.round() * 256 + green.round()
        # A tenth of a step upwards, so that the next number beats the one before.
        return -((torch.arange(self.num_classes) - number[:, None] - 0.1) ** 2)


def reader(classes: tuple[str, ...] = WNIDS) -> TrainedClassifier:
    plain = ClassificationPreprocessor(len(classes), mean=(0, 0, 0), std=(1, 1, 1))
    return TrainedClassifier(ColourReader(len(classes)), plain, dict(size=32), classes, "reader")


def spell(path: Path, number: int, mode: str = "RGB") -> None:
    """An image that the model answers with a number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 36), (number // 256, number % 256, 0)).convert(mode).save(path, "PNG")


def test_labels_come_from_the_names_not_from_the_sorted_place(tmp_path):
    for number in (999, 5, 300):
        spell(tmp_path / WNIDS[number] / "a.png", number)
    spell(tmp_path / WNIDS[5] / "b.png", 9)  # ranked 9 10 8 11 7
    spell(tmp_path / WNIDS[5] / "c.png", 7)  # 7 8 6 9 5: among the first five
    figures = evaluate(reader(), tmp_path, "val", Options(batch_size=2))
    assert figures == dict(top1=3 / 5, top5=4 / 5, error=1 - 3 / 5, pictures=5, unreadable=0)
    limited = evaluate(reader(), tmp_path, "sketch", Options(limit=1))
    assert limited["pictures"] == 1 and limited["top1"] == 1


@pytest.mark.parametrize(("suite", "count"), [("a", 200), ("r", 200)])
def test_prediction_is_among_the_classes_of_the_suite(tmp_path, suite, count):
    indices = subset_indices(SUITES[suite]).tolist()
    assert len(indices) == count
    listed = (LISTS / f"imagenet_{suite}_synsets.txt").read_text().split()
    assert [WNIDS[i] for i in indices] == listed
    outside = next(n for n in range(1, 999) if n not in indices and n + 1 in indices)
    spell(tmp_path / WNIDS[outside + 1] / "a.png", outside)
    spell(tmp_path / WNIDS[indices[50]] / "b.png", indices[50])
    # ImageNet's first guess is a class that the suite does not have
    assert evaluate(reader(), tmp_path, "val", Options())["top1"] == 0.5
    assert evaluate(reader(), tmp_path, suite, Options())["top1"] == 1
    spell(tmp_path / WNIDS[outside] / "c.png", outside)
    with pytest.raises(UserError, match=f"{WNIDS[outside]} .*none of the 200 classes"):
        evaluate(reader(), tmp_path, suite, Options())


def test_numbers_as_folders_are_numbers(tmp_path):
    for number in (0, 1, 2, 10, 100, 999):  # as strings 10 comes before 2
        spell(tmp_path / str(number) / "a.jpeg", number)
    assert evaluate(reader(), tmp_path, "v2", Options())["top1"] == 1
    with pytest.raises(UserError, match="the folder 0 .*none of the 1000"):
        evaluate(reader(), tmp_path, "val", Options())
    spell(tmp_path / "1000/a.jpeg", 0)
    with pytest.raises(UserError, match="folders 0 to 999"):
        evaluate(reader(), tmp_path, "v2", Options())
    spell(tmp_path / "named" / WNIDS[7] / "a.jpeg", 7)
    assert evaluate(reader(), tmp_path / "named", "v2", Options())["top1"] == 1


@pytest.mark.parametrize("folder", [".", WNIDS[0]])
def test_real_takes_any_of_several_answers(tmp_path, folder):
    answers = {1: 65, 2: 795, 3: 232, 4: 813}  # timm: none, [970, 795], [230, 231], [809]
    for number, answer in answers.items():
        spell(tmp_path / folder / f"ILSVRC2012_val_{number:08d}.JPEG", answer)
    figures = evaluate(reader(), tmp_path, "real", Options())
    # 1 has no label; 232 233 231 ..: among five; 813 .. 815 811: not even there
    assert figures["pictures"] == 3
    assert figures["top1"] == pytest.approx(1 / 3) and figures["top5"] == pytest.approx(2 / 3)
    spell(tmp_path / folder / "frog.JPEG", 3)
    with pytest.raises(UserError, match="keep the original names"):
        evaluate(reader(), tmp_path, "real", Options())


def test_mce_is_the_hand_computed_one():
    same = {name: dict.fromkeys((1, 2, 3, 4, 5), error) for name, error in ALEXNET_ERRORS.items()}
    assert corruption_figures(same, True)["mCE"] == pytest.approx(1)
    assert corruption_figures(same, True)["mean_error"] == pytest.approx(11.834896 / 15)
    # made up: snow .1 .2 .3 .4 .5 is .3 / .866816 = .346094, fog .2 is .2 / .819324 = .244104
    made = {
        **same,
        "snow": {s: s / 10 for s in range(1, 6)},
        "fog": dict.fromkeys(range(1, 6), 0.2),
    }
    figures = corruption_figures(made, True)
    assert figures["corruptions"]["snow"]["CE"] == pytest.approx(0.346094, abs=1e-6)
    assert figures["mCE"] == pytest.approx((13 + 0.346094 + 0.244104) / 15, abs=1e-6)
    assert figures["mean_error"] == pytest.approx(
        (11.834896 - 0.866816 - 0.819324 + 0.3 + 0.2) / 15, abs=1e-6
    )
    for part in ({"snow": made["snow"]}, {**same, "fog": {1: 0.5}}):  # not all of the table
        assert "mCE" not in corruption_figures(part, True)
    assert "CE" not in corruption_figures(same, False)["corruptions"]["snow"]


def corrupted_tree(root: Path, name: str, labels) -> None:
    """Five severities of five images; severity s gets s - 1 of them wrong."""
    for severity, label in enumerate(labels, start=1):
        for number in range(5):
            answer = 9 if number < severity - 1 else 4
            spell(root / name / label / WNIDS[4] / f"{number}.png", answer)


def test_corruptions_from_folders(tmp_path):
    corrupted_tree(tmp_path / "weather", "snow", "12345")  # as in the archive weather.tar
    options = Options(corruptions=("snow",))
    figures = evaluate(reader(), tmp_path, "c", options)
    row = figures["corruptions"]["snow"]
    assert row["errors"] == pytest.approx({"1": 0, "2": 0.2, "3": 0.4, "4": 0.6, "5": 0.8})
    assert row["CE"] == pytest.approx(0.4 / 0.866816) and figures["mean_error"] == row["error"]
    with pytest.raises(UserError, match=r"no folder .*gaussian_noise/1.*--corrupt"):
        evaluate(reader(), tmp_path, "c", Options())
    with pytest.raises(UserError, match="no corruption 'plasma_noise'; it has gaussian_noise"):
        evaluate(reader(), tmp_path, "c", Options(corruptions=("plasma_noise",)))


def test_a_severity_that_lacks_a_class_is_refused(tmp_path):
    corrupted_tree(tmp_path, "snow", "12345")
    spell(tmp_path / "snow/2" / WNIDS[7] / "0.png", 7)
    with pytest.raises(UserError, match=rf"snow/1 lacks 1 class folders .*{WNIDS[7]}: copy"):
        evaluate(reader(), tmp_path, "c", Options(corruptions=("snow",)))


@pytest.mark.parametrize("number_of", ["{:.2f}", "place"])
def test_severities_of_c_bar_are_named_by_their_scale(tmp_path, number_of):
    for name, scale in C_BAR_SEVERITIES.items():
        labels = "12345" if number_of == "place" else [number_of.format(s) for s in scale]
        corrupted_tree(tmp_path, name, labels)
    figures = evaluate(reader(), tmp_path, "cbar", Options())
    assert list(figures["corruptions"]) == list(C_BAR_SEVERITIES)
    assert figures["mean_error"] == pytest.approx(0.4) and "mCE" not in figures


def test_imagenet_22k_lacks_one_class_of_the_validation_set(tmp_path):
    names = tuple(ImageNetInfo("imagenet-22k").label_names())
    lacking = next(name for name in WNIDS if name not in names)
    spell(tmp_path / WNIDS[4] / "a.png", names.index(WNIDS[4]))
    spell(tmp_path / lacking / "a.png", 0)
    figures = evaluate(reader(names), tmp_path, "val", Options())
    assert figures["pictures"] == 1 and figures["top1"] == 1


def test_a_damaged_picture_is_left_out_and_reported(tmp_path):
    spell(tmp_path / WNIDS[4] / "a.png", 4)
    (tmp_path / WNIDS[4] / "b.png").write_bytes(b"no image")
    said = []
    figures = evaluate(reader(), tmp_path, "val", Options(), said.append)
    assert figures["pictures"] == 1 and figures["unreadable"] == 1 and "b.png" in said[0]
    (tmp_path / WNIDS[4] / "a.png").unlink()
    with pytest.raises(UserError, match="no image that can be evaluated"):
        evaluate(reader(), tmp_path, "val", Options())


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(UserError, match="ImageNet-R needs .*1000 .*reader has 2 classes"):
        evaluate(reader(("ant", "bee")), tmp_path, "r", Options())
    with pytest.raises(UserError, match="There is no folder .*ImageNet-Sketch"):
        evaluate(reader(), tmp_path / "none", "sketch", Options())
    with pytest.raises(UserError, match="no class folders"):
        evaluate(reader(), tmp_path, "sketch", Options())
    with pytest.raises(UserError, match="belong to the suites c and cbar"):
        evaluate(reader(), tmp_path, "val", Options(corrupt=True))
    with pytest.raises(UserError, match="severities must be 1 to 5"):
        evaluate(reader(), tmp_path, "cbar", Options(severities=(6,)))


# Checkpoints


def network(classes: int, favourite: int, **options) -> ConvNeXtClassifier:
    """A network that prefers one class."""
    torch.manual_seed(favourite)
    built = ConvNeXtClassifier(classes, TINY, **options)
    nn.init.zeros_(built.head.weight)
    built.head.bias.data[favourite] = 9
    return built


@pytest.fixture(scope="module")
def run(tmp_path_factory, config) -> Path:
    """A checkpoint as a run leaves it: the weights say bee, their average ant."""
    cfg = Config.fromfile(config)
    cfg.model.backbone.num_classes = 3
    states = [
        {f"backbone.{k}": v for k, v in network(3, favourite).state_dict().items()}
        for favourite in (1, 0)
    ]
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=("ant", "bee", "cat")))
    path = tmp_path_factory.mktemp("run") / "epoch_1.pth"
    torch.save(dict(meta=meta, state_dict=states[0], state_dict_ema=states[1]), path)
    return path


@pytest.mark.both_paths(slow=True)
def test_a_run_brings_its_config_classes_and_both_weights(run, config):
    for ema, favourite in ((False, 1), (True, 0)):
        model = open_classifier(run, ema=ema)
        assert model.classes == ("ant", "bee", "cat")
        assert model.transform == dict(size=32, crop=1.0)
        batch = dict(inputs=torch.zeros(1, 3, 32, 32, dtype=torch.uint8), targets=torch.zeros(1))
        assert model.logits({**batch, "paths": [""]}).argmax() == favourite
    assert open_classifier(run, Config.fromfile(config), size=64).transform["size"] == 64


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("naming", ["official", "timm", "torchvision", "transformers"])
def test_the_variant_of_a_bare_file_is_read_from_its_shapes(tmp_path, naming):
    torch.manual_seed(0)
    ours = ConvNeXtClassifier(1000, TINY).eval()
    torch.save(convert(ours.state_dict(), naming).state_dict, tmp_path / "bare.pth")
    model = open_classifier(tmp_path / "bare.pth")
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(model.network(x), ours(x))
    assert model.classes == WNIDS and model.transform == dict(size=224)


@pytest.mark.both_paths(slow=True)
def test_the_isotropic_file_and_other_heads(tmp_path):
    iso = IsotropicConvNeXt(1000, dict(depth=2, dim=8)).eval()
    torch.save(dict(model=iso.state_dict()), tmp_path / "iso.pth")
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(open_classifier(tmp_path / "iso.pth").network(x), iso(x))
    torch.save(dict(model=network(7, 0).state_dict()), tmp_path / "seven.pth")
    with pytest.raises(UserError, match="has 7 classes and does not name them"):
        open_classifier(tmp_path / "seven.pth")
    headless = {k: v for k, v in network(7, 0).state_dict().items() if "head" not in k}
    torch.save(headless, tmp_path / "headless.pth")
    with pytest.raises(UserError, match="not a classifier: its ConvNeXt has no head"):
        open_classifier(tmp_path / "headless.pth")
    torn = {k: v for k, v in network(1000, 0).state_dict().items() if k != "norm.bias"}
    torch.save(torn, tmp_path / "torn.pth")
    with pytest.raises(UserError, match=r"1 missing \(norm.bias\)"):
        open_classifier(tmp_path / "torn.pth")


def test_nothing_in_a_stored_config_is_executed(run, tmp_path):
    content = torch.load(run)
    for text, said in (
        (f"model = open('{tmp_path}/ran', 'w')  # ConvNeXtClassifier", "cannot be read"),
        (
            "model = dict(backbone=dict(type='os.system', a='ConvNeXtClassifier'))",
            "not a classifier",
        ),
    ):
        content["meta"]["cfg"] = text
        torch.save(content, tmp_path / "bad.pth")
        with pytest.raises(UserError, match=said):
            open_classifier(tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()


def tool(*arguments, code: int = 0) -> tuple[str, str]:
    return run_apart("eval_cls", *arguments, code=code)


@pytest.mark.slow
def test_the_tool_writes_and_prints(run, config, data_root, tmp_path):
    out = tmp_path / "new/result.json"
    shown = tool(run, "--data", data_root / "mini/val", "--suite", "val", "--json", "--out", out)
    result = json.loads(shown[0])
    assert result == json.loads(out.read_text())
    assert result["top1"] == pytest.approx(1 / 3) and result["pictures"] == 9
    assert "top5" not in result and not result["ema"]
    made = [
        "--suite",
        "cbar",
        "--corrupt",
        "--severities",
        3,
        "--json",
        "--corruptions",
        "sparkles",
    ]
    shown = tool(run.parent, "--data", data_root / "mini/val", *made, "--config", config)
    result = json.loads(shown[0])
    assert list(result["corruptions"]) == ["sparkles"] and "mCE" not in result
    assert result["mean_error"] == pytest.approx(2 / 3)  # it says bee whatever it sees
    shown = tool(run.parent, "--data", data_root / "mini/val", "--suite", "sketch", code=2)
    assert "has 3 classes" in shown[1]
