"""The report on every parameter, the wrappers around a backbone, and errors."""

import pytest
import torch
from tiny_convnext import DEPTHS, DIMS, backbone, official
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.weights import convert, load_pretrained
from convnext_dense.weights.namings import TARGETS

NEW_NORMS = {f"norm{i}.{p}" for i in range(4) for p in ("weight", "bias")}


def is_loaded(model: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(v, state[n]) for n, v in model.state_dict().items() if n in state)


def test_account_of_an_official_file():
    model, state = backbone(), official()
    report = load_pretrained(model, {"model": state, "args": None})
    assert is_loaded(model, state)
    assert set(report.loaded) == {n for n in state if n.split(".")[0] not in ("norm", "head")}
    assert set(report.new_by_design) == NEW_NORMS
    assert torch.equal(model.norm3.weight, torch.ones(DIMS[3]))
    assert report.share == 1.0 and report.source == "official" and report.key == "model"
    assert report.ignored_heads == {"norm": 2, "head": 2}
    assert not (report.missing or report.unexpected or report.mismatched)
    text = str(report)
    assert "\n" not in text
    for piece in (
        "100.00%",
        "official naming (key model)",
        "new by design: norm0.weight",
        "head (2)",
    ):
        assert piece in text


def test_account_of_a_faulty_file():
    state = official()
    del state["stages.2.10.pwconv1.bias"]
    state["stages.0.0.gamma"] = torch.zeros(9)
    state["extra.weight"] = torch.zeros(3)
    model = backbone()
    report = load_pretrained(model, state)
    assert report.missing == ("stages.2.10.pwconv1.bias",)
    assert report.unexpected == ("extra.weight",)
    assert report.mismatched == (("stages.0.0.gamma", (9,), (8,)),)
    sizes = {n: v.numel() for n, v in model.state_dict().items() if n not in NEW_NORMS}
    lost = sizes["stages.2.10.pwconv1.bias"] + sizes["stages.0.0.gamma"]
    assert report.share == pytest.approx(1 - lost / sum(sizes.values()), abs=1e-12)
    for piece in ("missing in the file: stages.2.10.pwconv1.bias", "extra.weight", "9 for 8"):
        assert piece in str(report)


@pytest.mark.parametrize(
    "nest",
    [
        lambda s: s,
        lambda s: {"model": s},
        lambda s: {"state_dict": s, "meta": {"epoch": 1}},
        lambda s: {"module": s},
        lambda s: {"model": {"state_dict": s}},
        lambda s: {"model_ema": s},
        lambda s: {"model": {"type": "ConvNeXt"}, "state_dict": s},
    ],
)
@pytest.mark.parametrize(
    "prefix", ["", "module.", "backbone.", "model.", "module.backbone.", "model.module.backbone."]
)
def test_nests_and_prefixes(nest, prefix):
    state, model = official(), backbone()
    report = load_pretrained(model, nest({prefix + name: v for name, v in state.items()}))
    assert report.share == 1.0 and is_loaded(model, state)
    assert report.ignored_heads == {"norm": 2, "head": 2}


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
@pytest.mark.parametrize("naming", TARGETS)
def test_prefixes_around_every_naming(naming, prefix):
    state, model = official(), backbone()
    there = convert(state, naming).state_dict
    report = load_pretrained(model, {prefix + name: v for name, v in there.items()})
    assert report.share == 1.0 and is_loaded(model, state)
    assert report.ignored_heads == {"norm": 2, "head": 2} and not report.unexpected


def test_a_detector_gives_its_backbone_and_names_the_rest():
    source = backbone(seed=3)
    state = {f"backbone.{n}": v for n, v in source.state_dict().items()}
    for name in ("neck.convs.0.weight", "rpn_head.bias", "roi_head.0.weight", "roi_head.1.weight"):
        state[name] = torch.zeros(2)
    model = backbone()
    report = load_pretrained(model, {"state_dict": state, "meta": {}})
    assert is_loaded(model, source.state_dict())
    assert report.new_by_design == () and report.unexpected == ()
    assert report.ignored_heads == {"neck": 1, "rpn_head": 1, "roi_head": 2}


def test_a_classifier_gets_its_norm_and_head():
    model = backbone(out_indices=(3,))
    del model.norm3
    model.norm, model.head = nn.LayerNorm(DIMS[3]), nn.Linear(DIMS[3], 5)
    state = official()
    report = load_pretrained(model, convert(state, "timm").state_dict)
    assert set(report.loaded) == set(state) == set(model.state_dict())
    assert is_loaded(model, state) and not report.ignored_heads

    model.head = nn.Linear(DIMS[3], 7)  # other classes: reported, and not the backbone's fault
    report = load_pretrained(model, state)
    assert {name for name, *_ in report.mismatched} == {"head.weight", "head.bias"}
    assert report.share == 1.0


def test_final_norm_into_norm3_on_request_only():
    state, model = official(), backbone()
    report = load_pretrained(model, state, final_norm_to_norm3=True)
    assert torch.equal(model.norm3.weight, state["norm.weight"])
    assert torch.equal(model.norm3.bias, state["norm.bias"])
    assert "norm3.weight" in report.loaded and "norm3.weight" not in report.new_by_design
    with pytest.raises(UserError, match="no final norm"):
        load_pretrained(model, backbone(seed=1).state_dict(), final_norm_to_norm3=True)
    with pytest.raises(UserError, match="emits its last stage"):
        load_pretrained(backbone(out_indices=(0, 1)), state, final_norm_to_norm3=True)


@pytest.mark.parametrize("naming", ["timm", "mmpretrain", "transformers", "torchvision"])
def test_final_norm_is_fresh_from_every_library(naming):
    model = backbone()
    report = load_pretrained(model, convert(official(), naming).state_dict)
    assert set(report.new_by_design) == NEW_NORMS
    assert torch.equal(model.norm3.weight, torch.ones(DIMS[3]))


class TestEma:
    def test_final_weights_are_the_default(self):
        files = [official(seed=1), official(seed=2)]
        content = {"model": files[0], "model_ema": files[1]}
        for ema in (False, True):
            model = backbone()
            load_pretrained(model, content, ema=ema)
            assert is_loaded(model, files[ema])

    def test_mmengine_swaps_the_two(self):
        final = {f"module.backbone.{n}": v for n, v in official(seed=1).items()}
        average = {f"backbone.{n}": v for n, v in official(seed=2).items()}
        content = {"state_dict": average, "ema_state_dict": {"steps": torch.tensor(1), **final}}
        for ema, seed in ((False, 1), (True, 2)):
            model = backbone()
            load_pretrained(model, content, ema=ema)
            assert is_loaded(model, official(seed=seed))

    def test_a_file_without_averages(self):
        with pytest.raises(UserError, match="no averaged"):
            load_pretrained(backbone(), {"model": official()}, ema=True)


class TestErrors:
    def refused(self, state, match, model=None, **options):
        """The error carries the account, and the model is as it was."""
        model = model or backbone()
        before = {n: v.clone() for n, v in model.state_dict().items()}
        with pytest.raises(UserError, match=match) as error:
            load_pretrained(model, state, **options)
        assert is_loaded(model, before)
        return str(error.value)

    def test_less_than_95_percent(self):
        state = official()
        total = sum(v.numel() for n, v in state.items() if n.split(".")[0] not in ("norm", "head"))
        lost = [n for n in state if n.startswith("stages.3.0.pwconv")]
        for name in lost:
            del state[name]
        message = self.refused(state, "allow_partial=True")
        for piece in ("Only", "missing in the file: stages.3.0.pwconv1.weight", "official naming"):
            assert piece in message
        model = backbone()
        report = load_pretrained(model, state, allow_partial=True)
        kept = sum(state[n].numel() for n in report.loaded)
        assert report.share == pytest.approx(kept / total) and report.share < 0.95
        assert is_loaded(model, state)

    def test_the_border_is_at_95_percent(self):
        state = official()
        total = sum(v.numel() for n, v in state.items() if n.split(".")[0] not in ("norm", "head"))
        lost, names = 0, []
        for name in [n for n in state if n.startswith("stages.2.")][::-1]:
            if lost + state[name].numel() <= 0.05 * total and not name.startswith("stages.2.0"):
                lost += state[name].numel()
                names.append(name)
        for name in names:
            del state[name]
        assert 0.95 <= load_pretrained(backbone(), state).share < 0.96

    def test_a_deeper_file_is_another_architecture(self):
        deeper = backbone(seed=1, arch=dict(depths=(1, 2, 12, 1), dims=DIMS)).state_dict()
        self.refused(deeper, r"does not have stages\.2\.11\.gamma and 8 more")
        load_pretrained(backbone(), deeper, allow_partial=True)

    def test_version_2_in_version_1_and_back(self):
        self.refused(official(v2=True), "does not have stages.0.0.grn")
        # A model with V2's layers and a V1 file: 99 % fits, and the model would not work.
        self.refused(official(), "does not have stages.0.0.gamma", model=backbone(v2=True))
        model = backbone(use_grn=True)
        self.refused(official(), r"none of its blocks has grn\.beta, grn\.gamma", model=model)

    def test_stages_that_are_not_built_are_no_error(self):
        model, state = backbone(out_indices=(0, 1)), official()
        report = load_pretrained(model, state)
        assert is_loaded(model, state) and report.share == 1.0
        assert all(n.startswith(("stages.2", "stages.3", "downsample")) for n in report.unexpected)

    def test_other_widths(self):
        wide = backbone(seed=1, arch=dict(depths=DEPTHS, dims=(16, 32, 48, 64))).state_dict()
        assert "of another shape" in self.refused(wide, "Only")

    def test_no_convnext(self):
        self.refused({"model": {"conv1.weight": torch.ones(1)}}, "no ConvNeXt.*timm.*conv1.weight")
        self.refused({"epoch": 3}, "no parameters.*epoch")
        self.refused({}, "no parameters.*nothing")

    def test_no_convnext_names_the_prefixes_with_their_counts(self):
        state = {"encoder.conv1.weight": torch.ones(1), "encoder.bn1.bias": torch.ones(1)}
        state["head.bias"] = torch.ones(1)
        self.refused(state, r"begin with encoder\. \(2\), head\. \(1\)")
