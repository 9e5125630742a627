"""Files of other frameworks and methods: prefixes, nests, sparse layers, other channels."""

import re

import pytest
import torch
from tiny_convnext import DIMS, backbone, official
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.models import ConvNeXt, ConvNeXtClassifier
from convnext_dense.runs.starting_weights import choose_weights
from convnext_dense.weights import convert, convert_file, load_pretrained, read_checkpoint
from convnext_dense.weights.namings import TARGETS

STEM = "downsample_layers.0.0.weight"


def put(state: dict, prefix: str) -> dict:
    return {prefix + name: value for name, value in state.items()}


def assert_loaded(state: dict, content: dict, **options) -> str:
    """The content gives the backbone of ``state``, and the report says the whole of it."""
    model = backbone()
    report = load_pretrained(model, content, **options)
    assert report.share == 1.0
    assert all(torch.equal(v, state[n]) for n, v in model.state_dict().items() if n in state)
    return str(report)


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "module._orig_mod.", "net.", "encoder.", "student.", "0.model.", "my.own.net."],
)
@pytest.mark.parametrize("naming", TARGETS)
def test_one_backbone_has_one_reading_under_any_prefix(naming, prefix):
    state = official()
    content = put(convert(state, naming).state_dict, prefix)
    report = assert_loaded(state, {"model_state_dict": content, "epoch": 3})
    assert "key model_state_dict" in report
    assert (
        f"prefix {prefix.replace('_orig_mod.', '')}".rstrip(".") in report or prefix == "_orig_mod."
    )


def test_compiled_parts_inside_of_a_model():
    state = official()
    inner = {n.replace("stages.2.", "stages.2._orig_mod."): v for n, v in state.items()}
    assert_loaded(state, inner)


@pytest.mark.parametrize("key", ["net", "network", "weights", "anything"])
def test_any_nest(key):
    state = official()
    assert_loaded(state, {key: state, "optimizer": {"state": {0: {"step": torch.ones(1)}}}})


def test_fastai_takes_a_torchvision_model_apart():
    state = official()
    theirs = convert(state, "torchvision").state_dict
    body = {n.replace("features.", "0.0."): v for n, v in theirs.items() if n[0] == "f"}
    report = assert_loaded(state, {"model": {**body, "1.2.weight": torch.ones(3)}, "opt": {}})
    assert "fastai" in report and "not part of this model: 1 (1)" in report


@pytest.mark.parametrize(
    ("kept", "average"),
    [
        ("module.encoder_q.", "module.encoder_k."),
        ("base_encoder.", "momentum_encoder."),
        ("online_encoder.net.", "target_encoder.net."),
        ("backbone.", "backbone_momentum."),
        ("model.backbone.", "model.momentum_backbone."),
    ],
)
def test_methods_with_one_network_to_keep(kept, average):
    state = official(seed=1)
    both = {**put(official(seed=2), average), **put(state, kept)}
    assert f"prefix {kept.rstrip('.')}" in assert_loaded(state, {"state_dict": both})
    model = backbone()
    load_pretrained(model, {"state_dict": both}, prefix=average)
    assert torch.equal(model.state_dict()[STEM], official(seed=2)[STEM])


def test_a_second_name_of_the_same_network_is_no_second_reading():
    state = official()
    byol = {**put(state, "net."), **put(state, "online_encoder.net.")}
    byol |= put(official(seed=2), "target_encoder.net.")
    assert "prefix net" in assert_loaded(state, byol)


class TestSeveralReadings:
    """DINO keeps the teacher and distillation the student: the user says which."""

    STATES = (official(seed=1), official(seed=2))
    FILES = (
        {"student": put(STATES[0], "module.backbone."), "teacher": put(STATES[1], "backbone.")},
        {**put(STATES[0], "student_backbone."), **put(STATES[1], "teacher_backbone.")},
        {"state_dict": {**put(STATES[0], "student."), **put(STATES[1], "teacher.")}},
    )

    @pytest.mark.parametrize("content", FILES)
    def test_the_refusal_counts_and_the_prefix_chooses(self, content):
        count = len(self.STATES[0])
        match = rf"'student.*\({count} tensors\).*'teacher.*\({count} tensors\).*--weights-prefix"
        with pytest.raises(UserError, match=match):
            load_pretrained(backbone(), content)
        names = ("student_backbone", "teacher_backbone")
        names = names if names[0] + "." + STEM in content else ("student", "teacher.")
        for prefix, state in zip(names, self.STATES, strict=True):
            assert_loaded(state, content, prefix=prefix)

    def test_a_prefix_of_nothing(self):
        with pytest.raises(UserError, match=r"under the prefix 'mother'; .*student\. \(\d+\)"):
            load_pretrained(backbone(), self.FILES[0], prefix="mother")

    def test_a_key_is_a_prefix_too(self):
        content = {"model": self.STATES[0], "model_ema": self.STATES[1]}
        assert_loaded(self.STATES[1], content, prefix="model_ema")

    def test_converted_with_a_prefix(self, tmp_path):
        torch.save(self.FILES[0], tmp_path / "a.pth")
        with pytest.raises(UserError, match="several ConvNeXt"):
            convert_file(tmp_path / "a.pth", tmp_path / "b.pth", "official")
        assert not (tmp_path / "b.pth").exists()
        convert_file(tmp_path / "a.pth", tmp_path / "b.pth", "official", prefix="teacher")
        written = read_checkpoint(tmp_path / "b.pth")["model"]
        assert torch.equal(written[STEM], self.STATES[1][STEM])


def sparse(state: dict) -> dict:
    """A dense V2 as MinkowskiEngine keeps it, element by element: rows of a kernel run fastest."""
    result = {}
    for name, value in state.items():
        if name.startswith(("norm", "head")):
            continue
        if value.ndim == 4 and name != STEM and "grn" not in name:
            outputs, inputs, height, width = value.shape
            kernel = torch.empty(height * width, inputs, outputs)
            for y in range(height):
                for x in range(width):
                    kernel[x * height + y] = value[:, :, y, x].T
            is_depthwise = name.endswith("dwconv.weight")
            name = name.replace(".weight", ".kernel")
            result[name] = kernel[:, 0] if is_depthwise else kernel
        elif re.search(r"dwconv\.bias$|downsample_layers\.[123]\.1\.bias$", name):
            result[name] = value[None]
        elif layer := re.search(r"pwconv\d|\.norm|downsample_layers\.[123]\.0", name):
            inner = "linear" if "pwconv" in layer[0] else "ln"
            result[name.replace(layer[0], f"{layer[0]}.{inner}")] = value
        elif ".grn." in name:
            result[name] = value.reshape(1, -1)
        else:
            result[name] = value
    return result


def test_raw_fcmae_files():
    state = official(v2=True)
    content = put(sparse(state), "encoder.")
    content |= {"mask_token": torch.ones(1, 4, 1, 1), "decoder.0.dwconv.weight": torch.ones(4)}
    model = backbone(v2=True)
    report = load_pretrained(model, {"model": content})
    assert report.share == 1.0 and report.source == "FCMAE"
    assert report.ignored_heads == {"mask_token": 1, "decoder": 1}
    own = model.state_dict()
    assert all(torch.equal(own[n], v) for n, v in state.items() if n in own)


class TestStem:
    """Other input channels are fitted as timm does; other stems are another architecture."""

    @pytest.mark.parametrize("channels", [1, 2, 4, 8])
    def test_as_timm_fits_it(self, channels):
        timm_fits = pytest.importorskip("timm.models._manipulate").adapt_input_conv
        state, model = official(), backbone(in_channels=channels)
        report = load_pretrained(model, state)
        assert torch.equal(model.state_dict()[STEM], timm_fits(channels, state[STEM]))
        assert report.share == 1.0 and STEM in report.loaded
        assert f"stem fitted from 3 to {channels} input channels" in str(report)

    @pytest.mark.parametrize(("given", "wanted"), [(3, 1), (3, 6), (1, 3), (1, 4), (4, 1)])
    def test_equal_channels_give_the_same(self, given, wanted):
        source = backbone(seed=1, in_channels=given)
        model = backbone(in_channels=wanted)
        load_pretrained(model, source.state_dict())
        grey = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
        stems = [m.downsample_layers[0][0] for m in (source, model)]
        first, second = (stem(grey.repeat(1, stem.in_channels, 1, 1)) for stem in stems)
        scale = second.abs().max() / first.abs().max() if wanted == 1 else 1
        assert torch.allclose(first * scale, second, rtol=1e-4, atol=1e-4)

    def test_channels_that_have_no_reading(self):
        four = backbone(seed=1, in_channels=4).state_dict()
        with pytest.raises(UserError, match="stem differs: .*8x4x4x4 for 8x3x4x4"):
            load_pretrained(backbone(), four)
        model = backbone()
        before = model.state_dict()[STEM].clone()
        report = load_pretrained(model, four, allow_partial=True)
        assert torch.equal(model.state_dict()[STEM], before) and report.mismatched[0][0] == STEM


class TestOtherArchitectures:
    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("convnext_atto_ols", "stem differs"),
            ("convnext_nano_ols", "stem differs"),
            ("convnext_atto_rms", r"stem differs: downsample_layers\.0\.1\.bias \(missing\)"),
        ],
    )
    def test_timm_variants_by_name(self, name, words):
        timm = pytest.importorskip("timm")
        state = timm.create_model(name).state_dict()
        arch = name.split("_")[1]
        for model in (ConvNeXt(arch), ConvNeXtClassifier(1000, arch)):
            with pytest.raises(
                UserError, match=f"another architecture: its {words}.*allow_partial"
            ):
                load_pretrained(model, state)
        load_pretrained(ConvNeXt(arch), state, allow_partial=True)

    def test_a_norm_before_the_pooling_is_another_classifier_and_the_same_backbone(self):
        timm = pytest.importorskip("timm")
        options = dict(depths=(1, 1, 1, 1), dims=DIMS, num_classes=5)
        state = timm.create_model("convnext_tiny_hnf", **options).state_dict()
        arch = dict(depths=(1, 1, 1, 1), dims=DIMS)
        report = load_pretrained(ConvNeXt(arch), state)
        assert report.ignored_heads == {"head": 2, "norm_pre": 2} and report.share == 1.0
        with pytest.raises(UserError, match=r"final norm differs: norm\.weight \(missing\)"):
            load_pretrained(ConvNeXtClassifier(5, arch), state)

    def test_a_hidden_layer_of_a_head(self):
        timm = pytest.importorskip("timm")
        options = dict(depths=(1, 1, 1, 1), dims=DIMS, num_classes=5, head_hidden_size=DIMS[3])
        state = timm.create_model("convnext_large_mlp", **options).state_dict()
        arch = dict(depths=(1, 1, 1, 1), dims=DIMS)
        load_pretrained(ConvNeXt(arch), state)
        with pytest.raises(UserError, match="head has layers"):
            load_pretrained(ConvNeXtClassifier(5, arch), state)
        load_pretrained(ConvNeXtClassifier(7, arch), state)  # the head is new in any case

    def test_smaller_kernels_in_all_blocks(self):
        state = official()
        for name in [n for n in state if n.endswith("dwconv.weight")]:
            state[name] = state[name][..., 2:5, 2:5]
        model = backbone(arch=dict(depths=(1, 2, 11, 1), dims=DIMS))
        with pytest.raises(UserError, match="Only|and so in all blocks"):
            load_pretrained(model, state)

    @pytest.mark.parametrize("name", ["downsample_layers.0.0.bias", "downsample_layers.2.0.weight"])
    def test_one_lost_layer_outside_of_blocks(self, name):
        state = official()
        del state[name]
        with pytest.raises(UserError, match=rf"(stem|downsampling) differs: {name} \(missing\)"):
            load_pretrained(backbone(), state)

    def test_a_pretraining_without_classifier_starts_one(self):
        """FCMAE and SimMIM have no final norm: the classifier's is new."""
        arch = dict(depths=(1, 2, 11, 1), dims=DIMS)
        state = {n: v for n, v in official().items() if not n.startswith(("norm", "head"))}
        report = load_pretrained(ConvNeXtClassifier(5, arch), put(state, "encoder."))
        assert report.new_by_design == ("norm.weight", "norm.bias") and report.share == 1.0

    def test_a_stem_of_two_convolutions_is_not_converted(self):
        timm = pytest.importorskip("timm")
        with pytest.raises(UserError, match="another architecture: its stem"):
            convert(timm.create_model("convnext_atto_ols").state_dict(), "official")


def named_model(library: str, name: str) -> nn.Module:
    if library == "timm":
        return pytest.importorskip("timm").create_model(name)
    if library == "torchvision":
        return pytest.importorskip("torchvision").models.get_model(name)
    library = pytest.importorskip("transformers")
    kind = "ConvNextV2" if "v2" in name else "ConvNext"
    config = getattr(library, f"{kind}Config")(num_labels=1000)
    return getattr(library, f"{kind}ForImageClassification")(config)


@pytest.mark.parametrize(
    ("library", "name"),
    [
        *(("timm", f"convnext{v}_{arch}") for v in ("", "v2") for arch in ("atto", "nano")),
        ("torchvision", "convnext_tiny"),
        ("transformers", "convnextv2-tiny"),
        *(
            pytest.param("timm", f"convnext{v}_{arch}", marks=pytest.mark.slow)
            for v in ("", "v2")
            for arch in ("femto", "pico", "tiny", "small", "base", "large")
        ),
        *(
            pytest.param("torchvision", f"convnext_{arch}", marks=pytest.mark.slow)
            for arch in ("small", "base", "large")
        ),
        pytest.param("transformers", "convnext-tiny", marks=pytest.mark.slow),
    ],
)
def test_round_trip_of_a_model_by_name(library, name):
    model = named_model(library, name)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    here = convert(state, "ours")
    back = convert(here.state_dict, library)
    assert not here.left_out and not back.left_out
    model.load_state_dict(back.state_dict, strict=True)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_the_prefix_of_a_run(tmp_path):
    from mmengine.config import Config

    torch.save({"model": official()}, tmp_path / "a.pth")
    model = dict(backbone=dict(type="ConvNeXt"))
    cfg = Config(dict(model=model, work_dir=str(tmp_path)))
    with pytest.raises(UserError, match="--weights-prefix.*starts from neither"):
        choose_weights(cfg, prefix="teacher")
    choose_weights(cfg, backbone_weights=str(tmp_path / "a.pth"), prefix="teacher")
    assert cfg.model.backbone.init_cfg.prefix == "teacher"
