"""The classifiers against the official release, the paper's counts, and the backbone they feed."""

import pytest
import torch
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.models import ConvNeXt, ConvNeXtClassifier, IsotropicConvNeXt
from convnext_dense.weights import load_pretrained
from tests.models.test_convnext import relative

TINY = dict(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))
# parameters of the paper's variants with a head of 1000 classes
PARAMETERS = {
    "tiny": 28_589_128,
    "small": 50_223_688,
    "base": 88_591_464,
    "large": 197_767_336,
    "xlarge": 350_196_968,
}
ISOTROPIC_PARAMETERS = {"small": 22_308_712, "base": 87_083_752, "large": 305_942_504}


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize(
    ("part", "build"),
    [
        (
            "classifier",
            lambda: ConvNeXtClassifier(11, dict(depths=(2, 2, 4, 2), dims=(8, 16, 32, 64))),
        ),
        (
            "isotropic",
            lambda: IsotropicConvNeXt(11, dict(depth=3, dim=24), layer_scale_init_value=1.0),
        ),
    ],
)
def test_equals_the_official_release(convnext_parity, part, build):
    def array(name: str) -> torch.Tensor:
        return torch.from_numpy(convnext_parity[f"{part}/{name}"])

    prefix = f"{part}/param/"
    names = [n.removeprefix(prefix) for n in convnext_parity.files if n.startswith(prefix)]
    model = build()
    model.load_state_dict({name: array(f"param/{name}") for name in names})  # strict
    x = array("input").requires_grad_()
    logits = model(x)
    assert relative(logits, array("output/0")) < 1e-5
    # The reference's scalar: the output weighted by a ramp from -1 to 1 over its elements.
    (logits * torch.linspace(-1, 1, logits.numel()).view(logits.shape)).sum().backward()
    assert relative(x.grad, array("input_grad")) < 1e-5
    for name, parameter in model.named_parameters():
        assert relative(parameter.grad, array(f"grad/{name}")) < 1e-5, name


@pytest.mark.parametrize("arch", PARAMETERS)
def test_parameter_count_is_the_papers(arch):
    with torch.device("meta"):
        model = ConvNeXtClassifier(1000, arch)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[arch]


@pytest.mark.parametrize("arch", ISOTROPIC_PARAMETERS)
def test_isotropic_parameter_count_is_the_papers(arch):
    scale = 1e-6 if arch == "large" else 0.0
    with torch.device("meta"):
        model = IsotropicConvNeXt(1000, arch, layer_scale_init_value=scale)
    assert sum(p.numel() for p in model.parameters()) == ISOTROPIC_PARAMETERS[arch]


@pytest.mark.both_paths(slow=True)
def test_a_backbone_takes_the_whole_trunk():
    torch.manual_seed(0)
    classifier = ConvNeXtClassifier(5, TINY)
    backbone = ConvNeXt(TINY)
    report = load_pretrained(backbone, {"state_dict": classifier.state_dict()})
    assert report.share == 1 and not report.missing and not report.unexpected
    assert set(report.new_by_design) == {
        f"norm{i}.{p}" for i in range(4) for p in ("weight", "bias")
    }
    assert report.ignored_heads == {"norm": 2, "head": 2}
    x = torch.randn(2, 3, 64, 64)
    trunk = [map_.detach() for map_ in classifier.stage_maps(x)]
    for i, (mine, theirs) in enumerate(zip(trunk, backbone.stage_maps(x), strict=True)):
        assert torch.equal(mine, theirs), i


def test_a_head_for_other_classes_starts_anew():
    torch.manual_seed(0)
    saved = ConvNeXtClassifier(5, TINY).state_dict()
    model = ConvNeXtClassifier(3, TINY, head_init_scale=0.001)
    before = model.head.weight.clone()
    report = load_pretrained(model, saved)
    assert {name for name, *_ in report.mismatched} == {"head.weight", "head.bias"}
    assert torch.equal(model.head.weight, before) and before.std() < 1e-4
    assert torch.equal(model.norm.weight, saved["norm.weight"])


def test_head_init_scale_multiplies_the_head_alone():
    torch.manual_seed(0)
    plain = ConvNeXtClassifier(100, TINY)
    torch.manual_seed(0)
    scaled = ConvNeXtClassifier(100, TINY, head_init_scale=0.001)
    assert torch.equal(plain.head.weight * 0.001, scaled.head.weight)
    assert torch.equal(plain.stages[3][0].pwconv2.weight, scaled.stages[3][0].pwconv2.weight)
    assert plain.head.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize(
    "build",
    [
        lambda **k: ConvNeXtClassifier(3, TINY, **k),
        lambda **k: IsotropicConvNeXt(3, dict(depth=2, dim=8), **k),
    ],
)
def test_recomputing_changes_nothing(build):
    grads = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = build(with_cp=with_cp, layer_scale_init_value=1.0)
        model(torch.randn(2, 3, 32, 32)).sum().backward()
        grads.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_isotropic_stochastic_depth_grows_to_the_last_block():
    model = IsotropicConvNeXt(3, dict(depth=3, dim=8), drop_path_rate=0.5)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in model.blocks]
    assert rates == pytest.approx([0, 0.25, 0.5])
    assert isinstance(model.blocks[0].drop_path, nn.Identity)


def test_wrong_arguments_are_named():
    with pytest.raises(UserError, match="small, base, large"):
        IsotropicConvNeXt(3, "tiny")
    with pytest.raises(UserError, match="16 x 16 pixels, got 15 x 20"):
        IsotropicConvNeXt(3, dict(depth=1, dim=8))(torch.randn(1, 3, 15, 20))
    with pytest.raises(UserError, match="drop_path_rate"):
        IsotropicConvNeXt(3, drop_path_rate=2)
