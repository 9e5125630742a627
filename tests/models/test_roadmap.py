"""The roadmap's first and last step against torchvision and our ConvNeXt, and its blocks."""

import pytest
import torch
import torchvision
from mmengine.registry import MODELS
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from convnext_dense.classification import ImageClassifier
from convnext_dense.errors import UserError
from convnext_dense.models import ConvNeXt, ConvNeXtClassifier
from convnext_dense.models.roadmap.layers import RoadmapBlock
from convnext_dense.models.roadmap.network import (
    REGIMES,
    ConvNeXtRoadmap,
    ConvNeXtRoadmapClassifier,
)
from convnext_dense.paper.roadmap.costs import build_on_meta
from tests.models.test_convnext import relative
from tests.optim.decay_models import build, by_name

STEPS = [step.name for step in REGIMES["resnet50"].steps]
SMALL = dict(stage_ratio=(1, 1, 2, 1), width=8)


def randomise(model: nn.Module) -> nn.Module:
    """Random parameters and statistics, small enough for a deep network."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var") or tensor.ndim == 1 and name.endswith("weight"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point():
                tensor.normal_(0, 0.2 if tensor.ndim == 1 else tensor[0].numel() ** -0.5)
    return model.eval()


def small(step: str, seed: int = 0, **kwargs) -> ConvNeXtRoadmap:
    torch.manual_seed(seed)
    return ConvNeXtRoadmap(step=step, switches=SMALL, **kwargs)


def copy_from_torchvision(ours: ConvNeXtRoadmapClassifier, peer: ResNet) -> None:
    """Layer by layer, with the buffers."""
    conv, norm, _, _ = ours.downsample_layers[0]
    pairs = [(conv, peer.conv1), (norm, peer.bn1), (ours.head, peer.fc)]
    for i, stage in enumerate((peer.layer1, peer.layer2, peer.layer3, peer.layer4)):
        for block, other in zip(ours.stages[i], stage, strict=True):
            pairs += [
                (block.pwconv1, other.conv1),
                (block.norm1, other.bn1),
                (block.dwconv, other.conv2),
                (block.norm, other.bn2),
                (block.pwconv2, other.conv3),
                (block.norm2, other.bn3),
            ]
            if other.downsample is not None:
                pairs += zip(block.shortcut, other.downsample, strict=True)
    copied = 0
    for layer, other in pairs:
        theirs = other.state_dict()
        layer.load_state_dict({n: v.view_as(theirs[n]) for n, v in theirs.items()} | {
            "weight": theirs["weight"].view_as(layer.weight)
        })  # fmt: skip
        copied += len(theirs)
    assert copied == len(ours.state_dict()) == len(peer.state_dict())


@pytest.mark.parametrize(
    ("regime", "new_peer", "size"),
    [
        ("resnet50", torchvision.models.resnet50, (97, 66)),
        pytest.param(
            "resnet200",
            lambda: ResNet(Bottleneck, [3, 24, 36, 3]),
            (32, 32),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_first_step_is_torchvisions_resnet(regime, new_peer, size):
    peer = randomise(new_peer())
    ours = ConvNeXtRoadmapClassifier(1000, regime, "resnet").eval()
    copy_from_torchvision(ours, peer)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert relative(ours(x), peer(x)) < 1e-5


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize(
    ("regime", "size"),
    [("resnet50", (64, 75)), pytest.param("resnet200", (32, 32), marks=pytest.mark.slow)],
)
def test_the_last_step_is_our_convnext(regime, size):
    peer = randomise(ConvNeXtClassifier(10, REGIMES[regime].convnext))
    ours = ConvNeXtRoadmapClassifier(10, regime, "separate_downsampling")
    assert all(block.gamma.eq(1e-6).all() for stage in ours.stages for block in stage)
    ours.load_state_dict(peer.state_dict())  # strict: the same names and shapes
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert relative(ours.eval()(x), peer(x)) < 1e-5


def test_the_large_regime_ends_with_base():
    ours = build_on_meta("resnet200", "separate_downsampling")
    with torch.device("meta"):
        peer = ConvNeXtClassifier(1000, "base")
    assert {n: v.shape for n, v in ours.state_dict().items()} == {
        n: v.shape for n, v in peer.state_dict().items()
    }


@pytest.mark.both_paths
def test_the_last_backbone_is_our_backbone():
    peer = randomise(ConvNeXt(dict(depths=(1, 1, 2, 1), dims=(8, 16, 32, 64))))
    ours = small("separate_downsampling")
    ours.load_state_dict(peer.state_dict())
    x = torch.randn(2, 3, 47, 64)
    for one, other in zip(ours(x), peer(x), strict=True):
        assert relative(one, other) < 1e-5


# In a block without downsampling: (activations, norms of the branch, convolutions with a bias).
INSIDE = {"fewer_activations": (1, 3, 0), "fewer_norms": (1, 1, 2), "layer_norm": (1, 1, 3)}


def test_activations_and_norms_of_each_step():
    inside = (3, 3, 0)
    for step in STEPS:
        inside = INSIDE.get(step, inside)
        block = small(step).stages[2][1]
        acts = [type(m) for m in block.modules() if isinstance(m, nn.ReLU | nn.GELU)]
        norms = [
            m for m in (block.norm, block.norm1, block.norm2) if not isinstance(m, nn.Identity)
        ]
        convs = (block.dwconv, block.pwconv1, block.pwconv2)
        assert (len(acts), len(norms), sum(c.bias is not None for c in convs)) == inside, step
        assert set(acts) == {nn.GELU if STEPS.index(step) >= STEPS.index("gelu") else nn.ReLU}
        batch = any(isinstance(m, nn.BatchNorm2d) for m in small(step).modules())
        assert batch == (STEPS.index(step) < STEPS.index("layer_norm")), step


def test_a_block_by_hand():
    """fewer_norms, stride 2: depthwise, BatchNorm, 1x1, GELU, 1x1; shortcut with its own norm."""
    model = randomise(small("fewer_norms"))
    block = model.stages[1][0]
    x = torch.randn(2, 8, 9, 12)
    state = block.state_dict()

    def normed(y: torch.Tensor, name: str) -> torch.Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{key}"][:, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (y - mean) / (var + 1e-5).sqrt() * weight + bias

    def pointwise(y: torch.Tensor, name: str) -> torch.Tensor:
        y = torch.einsum("dc,nchw->ndhw", state[f"{name}.weight"], y)
        return y + state[f"{name}.bias"][:, None, None]

    y = nn.functional.conv2d(x, state["dwconv.weight"], None, stride=2, padding=3, groups=8)
    y = pointwise(normed(y, "norm"), "pwconv1")
    y = pointwise(0.5 * y * (1 + torch.erf(y / 2**0.5)), "pwconv2")
    skipped = torch.einsum("dc,nchw->ndhw", state["shortcut.0.weight"][..., 0, 0], x[..., ::2, ::2])
    expected = state["gamma"][:, None, None] * y + normed(skipped, "shortcut.1")
    assert relative(block(x), expected) < 1e-5


@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_a_backbone(step):
    model = small(step, out_indices=(0, 1, 3), drop_path_rate=0.3)
    x = torch.randn(2, 3, 75, 96)
    outs = model(x)
    wide = STEPS.index(step) < STEPS.index("inverted_bottleneck")
    for i, y in zip((0, 1, 3), outs, strict=True):
        assert y.shape[1] == model.dims[i] == 8 * 2**i * (4 if wide else 1)
        assert y.is_contiguous(memory_format=torch.channels_last)
    heights = {"resnet": (19, 10, 3), "patchify_stem": (18, 9, 3), STEPS[-1]: (18, 9, 2)}
    if step in heights:  # 75 rows: strides of stem and blocks round up, patches round down
        assert tuple(y.shape[2] for y in outs) == heights[step]
    sum(y.square().sum() for y in outs).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert len(small(step, out_indices=(0,)).stages) == 1


def test_any_mixture_of_switches_runs():
    for name in ("layer_norm", "separate_downsampling", "fewer_norms", "move_up_depthwise_conv"):
        switches = {**SMALL, name: True}
        model = ConvNeXtRoadmapClassifier(5, "resnet50", "resnet", switches)
        assert model(torch.randn(2, 3, 33, 40)).shape == (2, 5)


def test_stochastic_depth_grows_linearly():
    blocks = [b for stage in small("gelu", drop_path_rate=0.4).stages for b in stage]
    rates = [getattr(b.drop_path, "drop_prob", 0.0) for b in blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_frozen_stages_keep_their_statistics():
    model = small("width", frozen_stages=2).train()
    before = {n: v.clone() for n, v in model.state_dict().items() if "running" in n}
    model(torch.randn(2, 3, 64, 64))[3].sum().backward()
    for name, value in model.state_dict().items():
        if "running" in name:
            frozen = name.startswith(("downsample_layers.0", "stages.0", "stages.1"))
            assert torch.equal(value, before[name]) == frozen, name
    assert [p.requires_grad for p in model.stages[1].parameters()].count(True) == 0
    norms = [m for m in small("width", norm_eval=True).train().modules() if hasattr(m, "momentum")]
    assert norms and not any(m.training for m in norms)


def test_recomputing_changes_nothing():
    grads = []
    for with_cp in (False, True):
        model = small("layer_norm", with_cp=with_cp)
        torch.manual_seed(1)
        sum(y.square().sum() for y in model(torch.randn(2, 3, 32, 32))).backward()
        grads.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    with pytest.raises(UserError, match="twice in BatchNorm's statistics at the step 'gelu'"):
        small("gelu", with_cp=True)


def test_a_backbone_loads_the_trunk_of_a_classifier(tmp_path):
    path = str(tmp_path / "w.pth")
    config = dict(type="ConvNeXtRoadmapClassifier", num_classes=4, step="fewer_norms")
    classifier = ImageClassifier(
        dict(config, switches=SMALL), dict(type="ClassificationPreprocessor")
    )
    randomise(classifier)
    torch.save({"state_dict": classifier.state_dict()}, path)
    init_cfg = dict(type="Pretrained", checkpoint=path)
    model = small("fewer_norms", init_cfg=init_cfg)
    model.init_weights()
    x = torch.randn(2, 3, 64, 64)
    pairs = zip(model.eval()(x), classifier.eval().backbone.stage_maps(x), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    other = small("fewer_activations", init_cfg=init_cfg)
    before = other.stages[0][0].pwconv1.weight.clone()
    with pytest.raises(UserError, match="of another step or width: .* such as stages.0.0.norm1"):
        other.init_weights()
    assert torch.equal(other.stages[0][0].pwconv1.weight, before)


@pytest.mark.parametrize("step", ["resnet", "separate_downsampling"])
def test_layer_decay_reaches_every_step(step):
    names = by_name(build(nn.ModuleDict(dict(backbone=small(step)))))
    decayed = [names[f"backbone.{n}"]["lr_scale"] for n in
               ("downsample_layers.0.0.weight", "stages.0.0.pwconv1.weight",
                "stages.3.0.dwconv.weight")]  # fmt: skip
    assert decayed == [2**-5, 2**-4, 2**-1]  # N = 4 for a third stage of two blocks


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(step="patchify"), "no step 'patchify'; the nearest is 'patchify_stem'. It has: res"),
        (dict(regime="resnet-50"), "no regime 'resnet-50'; the nearest is 'resnet50'"),
        (dict(switches=dict(layernorm=True)), "no switch 'layernorm'; the nearest is 'layer_norm'"),
        (dict(switches=dict(kernel_size=4)), "kernel_size must be odd, got 4"),
        (dict(switches=dict(stage_ratio=(1, 2))), "stage_ratio needs four positive integers"),
        (dict(out_indices=(1, 0)), "ascending"),
        (dict(drop_path_rate=2), "drop_path_rate"),
        (dict(frozen_stages=5), "frozen_stages"),
    ],
)
def test_wrong_arguments_are_named(kwargs, message):
    with pytest.raises(UserError, match=message):
        ConvNeXtRoadmap(**kwargs)


def test_too_small_an_image_is_refused():
    with pytest.raises(UserError, match="at least 32 x 32"):
        small("resnet")(torch.randn(1, 3, 31, 64))


def test_is_registered_in_the_root_registry():
    model = MODELS.build(dict(type="ConvNeXtRoadmap", step="gelu", switches=dict(SMALL)))
    assert isinstance(model.stages[0][0], RoadmapBlock)
