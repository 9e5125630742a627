"""The networks of ConvNeXt V2, DINOv3 and CLIP files as their libraries build them, map by map."""

import pytest
import torch
import torch.nn.functional as F
from tiny_convnext import backbone, official
from torch import Tensor, nn

from convnext_dense.models import VARIANTS, ConvNeXt
from convnext_dense.weights import ZOO, load_pretrained
from convnext_dense.weights.loading import match_pretrained

timm = pytest.importorskip("timm")
V2 = dict(use_grn=True, layer_scale_init_value=0)
# timm's architecture -> the options of this project's backbone.
NETWORKS = {
    **{
        f"convnextv2_{arch}": dict(V2, arch=arch)
        for arch in ("atto", "femto", "pico", "nano", "tiny", "base", "large", "huge")
    },
    **{
        f"convnext_{arch}.dinov3_lvd1689m": dict(arch=arch)
        for arch in ("tiny", "small", "base", "large")
    },
    "convnext_base.clip_laion2b": dict(arch="base"),
    "convnext_base.clip_laion2b_augreg_ft_in12k_in1k": dict(arch="base"),
    "convnext_large_mlp.clip_laion2b_augreg": dict(arch="large"),
    "convnext_large_mlp.clip_laion2b_soup_ft_in12k_in1k_320": dict(arch="large"),
}
LARGEST = ("convnextv2_huge", "convnext_large_mlp.clip_laion2b_augreg")
QUICK = ("convnextv2_atto", "convnext_tiny.dinov3_lvd1689m")


def draw(module: nn.Module) -> nn.Module:
    """Values of a trained network's size: a gamma of 1e-6 or a GRN of 0 would compute nothing."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            values = torch.randn(parameter.shape, generator=generator)
            is_matrix = max(parameter.shape) < parameter.numel()
            fan_in = parameter[0].numel() if is_matrix else 1
            parameter.copy_(values / fan_in**0.5 if is_matrix else 0.5 + 0.3 * values)
    return module.eval()


def images() -> Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))


def assert_equal_maps(ours: ConvNeXt, expected: list[Tensor]) -> None:
    with torch.no_grad():
        actual = list(ours.eval().stage_maps(images()))
    assert len(actual) == len(expected) == 4
    for mine, theirs in zip(actual, expected, strict=True):
        assert theirs.std() > 0.1
        assert (mine - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize(
    "name", [n if n in LARGEST else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS]
)
def test_every_tensor_of_the_file_has_a_place(name):
    """Without memory for values: also of the largest."""
    with torch.device("meta"):
        theirs = timm.create_model(name)
        ours = ConvNeXt(**NETWORKS[name])
    _, report = match_pretrained(ours, theirs.state_dict())
    assert report.share == 1.0 and report.source == "timm"
    assert not (report.missing or report.unexpected or report.mismatched)
    assert set(report.ignored_heads) <= {"norm", "head"}


def test_every_architecture_with_a_name_is_compared():
    """Of the names that timm has; Meta's and DINOv3's own files have the same shapes."""
    sizes = {name.split(".")[0].removeprefix("timm/") for name in ZOO if "timm/" in name}
    assert sizes <= {name.split(".")[0] for name in NETWORKS}
    v2 = {name.split("_")[1] for name in ZOO if name.startswith("convnextv2")}
    assert {f"convnextv2_{size}" for size in v2} <= set(NETWORKS)
    assert {name.split("_")[2] for name in ZOO if name.startswith("dinov3")} <= set(VARIANTS)


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in NETWORKS
        if name != "convnextv2_huge"  # 5 GB
    ],
)
def test_maps_of_timm(name):
    theirs = draw(timm.create_model(name))
    ours = ConvNeXt(**NETWORKS[name])
    load_pretrained(ours, theirs.state_dict())
    with torch.no_grad():
        expected = theirs.forward_intermediates(images(), intermediates_only=True)
    assert_equal_maps(ours, expected)


def transformers_v2() -> tuple[nn.Module, dict]:
    library, sizes = pytest.importorskip("transformers"), VARIANTS["atto"]
    config = library.ConvNextV2Config(
        hidden_sizes=list(sizes["dims"]), depths=list(sizes["depths"])
    )
    return library.ConvNextV2Model(config), dict(V2, arch="atto")


def transformers_dinov3() -> tuple[nn.Module, dict]:
    library = pytest.importorskip("transformers")
    return library.DINOv3ConvNextModel(library.DINOv3ConvNextConfig()), dict(arch="tiny")


@pytest.mark.parametrize("build", [transformers_v2, transformers_dinov3])
def test_maps_of_transformers(build):
    theirs, options = build()
    ours = ConvNeXt(**options)
    load_pretrained(ours, draw(theirs).state_dict())
    with torch.no_grad():
        known = theirs(images(), output_hidden_states=True).hidden_states
    assert_equal_maps(ours, list(known[-4:]))


def test_the_last_map_with_dinov3s_own_norm():
    """What DINOv3's linear probes see: patch features after the final norm."""
    theirs, options = transformers_dinov3()
    ours = ConvNeXt(**options)
    load_pretrained(ours, draw(theirs).state_dict(), final_norm_to_norm3=True)
    with torch.no_grad():
        patches = theirs(images()).last_hidden_state[:, 1:]
        last = ours.eval()(images())[3]
    assert (last.flatten(2).transpose(1, 2) - patches).abs().max() <= 1e-5 * patches.abs().max()
    # Without the option the norm is a fresh one, and the map another.
    load_pretrained(fresh := ConvNeXt(**options), theirs.state_dict())
    with torch.no_grad():
        plain = F.layer_norm(
            list(ours.stage_maps(images()))[3].permute(0, 2, 3, 1), (768,), eps=1e-6
        )
        assert (fresh.eval()(images())[3].permute(0, 2, 3, 1) - plain).abs().max() < 1e-4


def test_dinov3s_own_file_names_its_final_norm_twice():
    state = official()
    state = {name: value for name, value in state.items() if not name.startswith("head")}
    for kind in ("weight", "bias"):
        state[f"norms.3.{kind}"] = state[f"norm.{kind}"]
    ours = backbone()
    report = load_pretrained(ours, state, final_norm_to_norm3=True)
    assert report.share == 1.0 and not (report.missing or report.unexpected)
    assert report.ignored_heads == {"norms": 2}
    assert torch.equal(ours.norm3.weight, state["norm.weight"])
