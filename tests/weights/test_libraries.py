"""Each library's weights give that library's features, which are the reference for its naming."""

import pytest
import torch
from tiny_convnext import DEPTHS, DIMS, backbone, official, randomise
from torch import nn

from convnext_dense.weights import convert, load_pretrained


def timm_model(v2: bool, **options) -> tuple[nn.Module, list[nn.Module]]:
    timm = pytest.importorskip("timm")
    v2_options = dict(use_grn=True, ls_init_value=None) if v2 else {}
    model = timm.models.convnext.ConvNeXt(
        depths=DEPTHS, dims=DIMS, num_classes=5, **v2_options, **options
    )
    return model, list(model.stages)


def timm_features_only(v2: bool) -> tuple[nn.Module, list[nn.Module]]:
    timm = pytest.importorskip("timm")
    model = timm.create_model("convnext_atto", features_only=True, depths=DEPTHS, dims=DIMS)
    return model, [model.get_submodule(f"stages_{i}") for i in range(4)]


def timm_conv_mlp(v2: bool) -> tuple[nn.Module, list[nn.Module]]:
    return timm_model(v2, conv_mlp=True)


def torchvision_model(v2: bool) -> tuple[nn.Module, list[nn.Module]]:
    convnext = pytest.importorskip("torchvision").models.convnext
    widths = [*DIMS, None]
    settings = [convnext.CNBlockConfig(widths[i], widths[i + 1], DEPTHS[i]) for i in range(4)]
    model = convnext.ConvNeXt(settings, num_classes=5)
    return model, [model.features[i] for i in (1, 3, 5, 7)]


def mmpretrain_model(v2: bool) -> tuple[nn.Module, list[nn.Module]]:
    reason = "mmpretrain is not installed"
    metadata = pytest.importorskip("importlib_metadata", reason=reason)

    def hide_transformers(package: str) -> object:
        if package == "transformers":
            raise metadata.PackageNotFoundError(package)
        return distribution(package)

    # With transformers 5, the import of mmpretrain 1.2 fails in parts that are not needed here.
    distribution = metadata.distribution
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metadata, "distribution", hide_transformers)
        pytest.importorskip("mmpretrain", reason=reason, exc_type=ImportError)
        from mmpretrain.models import ConvNeXt, ImageClassifier

    options = dict(use_grn=True, layer_scale_init_value=0.0) if v2 else {}
    backbone = ConvNeXt(arch=dict(depths=DEPTHS, channels=DIMS), **options)
    head = dict(type="LinearClsHead", in_channels=DIMS[3], num_classes=5)
    return ImageClassifier(backbone, head=head), list(backbone.stages)


def transformers_model(v2: bool, kind: str = "ForImageClassification"):
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    name = "ConvNextV2" if v2 else "ConvNext"
    config = getattr(library, f"{name}Config")(
        hidden_sizes=list(DIMS), depths=list(DEPTHS), num_labels=5
    )
    model = getattr(library, name + kind)(config)
    return model, list(model.get_submodule(model.base_model_prefix).encoder.stages)


def transformers_bare(v2: bool) -> tuple[nn.Module, list[nn.Module]]:
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    config = library.ConvNextConfig(
        hidden_sizes=list(DIMS),
        depths=list(DEPTHS),
        out_features=[f"stage{i}" for i in (1, 2, 3, 4)],
    )
    model = library.ConvNextBackbone(config)
    return model, list(model.encoder.stages)


def dinov3_model(v2: bool) -> tuple[nn.Module, list[nn.Module]]:
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    config = library.DINOv3ConvNextConfig(hidden_sizes=list(DIMS), depths=list(DEPTHS))
    model = library.DINOv3ConvNextModel(config)
    # The stages' own parent differs between versions of the library.
    parents = [
        m
        for m in model.modules()
        if isinstance(dict(m.named_children()).get("stages"), nn.ModuleList)
    ]
    return model, list(parents[0].stages)


CASES = [
    ("timm", timm_model, False),
    ("timm", timm_model, True),
    ("timm features_only", timm_features_only, False),
    ("timm", timm_conv_mlp, False),
    ("timm", timm_conv_mlp, True),
    ("torchvision", torchvision_model, False),
    ("mmpretrain", mmpretrain_model, False),
    ("mmpretrain", mmpretrain_model, True),
    ("transformers", transformers_model, False),
    ("transformers", transformers_model, True),
    ("transformers", transformers_bare, False),
    ("transformers DINOv3", dinov3_model, False),
]


def stage_outputs(model: nn.Module, stages: list[nn.Module], x: torch.Tensor) -> list[torch.Tensor]:
    """The output of each stage, before any output norm."""
    outputs = []
    hooks = [s.register_forward_hook(lambda *call: outputs.append(call[2])) for s in stages]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return outputs


@pytest.mark.both_paths(slow=True, taken=False)
@pytest.mark.parametrize(
    ("naming", "build", "v2"), CASES, ids=[f"{b.__name__}{'-v2' * v}" for _, b, v in CASES]
)
def test_features_of_the_library(naming, build, v2):
    theirs, their_stages = build(v2)
    randomise(theirs)
    ours = backbone(v2).eval()
    report = load_pretrained(ours, theirs.state_dict())

    assert report.source == naming
    assert report.share == 1.0
    assert not (report.missing or report.unexpected or report.mismatched)
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))
    expected = stage_outputs(theirs, their_stages, x)
    actual = stage_outputs(ours, list(ours.stages), x)
    assert len(expected) == len(actual) == 4
    for mine, reference in zip(actual, expected, strict=True):
        assert (mine - reference).abs().max() <= 1e-5 * reference.abs().max()


@pytest.mark.parametrize(
    ("naming", "build", "v2"),
    [c for c in CASES if c[1] in (timm_model, torchvision_model, mmpretrain_model)]
    + [c for c in CASES if c[1] is transformers_model],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_converted_files_load_strictly_into_the_library(naming, build, v2):
    theirs, _ = build(v2)
    conversion = convert(official(v2), naming)
    assert not conversion.left_out
    theirs.load_state_dict(conversion.state_dict, strict=True)


def test_output_norms_of_a_transformers_backbone_are_loaded():
    theirs, _ = transformers_bare(False)
    ours = backbone()
    load_pretrained(ours, randomise(theirs).state_dict())
    assert torch.equal(ours.norm2.weight, theirs.hidden_states_norms["stage3"].weight)
