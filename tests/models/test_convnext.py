"""The backbone against the official release, timm, the paper's table, and its own contract."""

import copy
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from mmengine.registry import MODELS
from torch import nn

from convnext_dense import kernels
from convnext_dense.errors import UserError
from convnext_dense.models import (
    VARIANTS,
    Block,
    ConvNeXt,
    ConvNeXtClassifier,
    IsotropicConvNeXt,
)

TINY = dict(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))
# parameters of the paper's variants as dense backbones, with norm0 to norm3
PARAMETERS = {
    "tiny": 27_821_472,
    "small": 49_456_032,
    "base": 87_568_256,
    "large": 196_233_024,
    "xlarge": 348_151_552,
}


def make(seed: int = 0, **kwargs) -> ConvNeXt:
    """A small backbone with random parameters, so that every term has an effect."""
    torch.manual_seed(seed)
    model = ConvNeXt(**{"arch": TINY, "layer_scale_init_value": 1.0, **kwargs})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return model


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual - expected).norm() / expected.norm()).item()


@pytest.mark.both_paths(slow=True)
def test_equals_the_official_release(convnext_parity):
    prefix = "dense/param/"
    state = {
        name.removeprefix(prefix): torch.from_numpy(convnext_parity[name])
        for name in convnext_parity.files
        if name.startswith(prefix)
    }
    model = ConvNeXt(dict(depths=(2, 2, 4, 2), dims=(8, 16, 32, 64)))
    model.load_state_dict(state)  # strict: all names are the release's
    x = torch.from_numpy(convnext_parity["dense/input"]).requires_grad_()
    outs = model(x)
    # The reference's scalar: every output weighted by a ramp from -1 to 1 over its elements.
    sum((y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum() for y in outs).backward()
    for i, y in enumerate(outs):
        assert relative(y, torch.from_numpy(convnext_parity[f"dense/output/{i}"])) < 1e-5
    assert relative(x.grad, torch.from_numpy(convnext_parity["dense/input_grad"])) < 1e-5
    for name, parameter in model.named_parameters():
        expected = torch.from_numpy(convnext_parity[f"dense/grad/{name}"])
        assert relative(parameter.grad, expected) < 1e-5, name


@pytest.mark.parametrize("arch", PARAMETERS)
def test_parameter_count_is_the_papers(arch):
    with torch.device("meta"):
        model = ConvNeXt(arch)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[arch]


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("name", ["atto", "tiny"])
def test_equals_timm_with_mapped_weights(name):
    torch.manual_seed(0)
    peer = timm.create_model(f"convnext_{name}").eval()
    ours = ConvNeXt(name).eval()
    copy_from_timm(ours, peer)
    x = torch.randn(1, 3, 64, 96)
    features = []
    for stage in ours.stages:  # timm's features have no output norms
        stage.register_forward_hook(lambda _module, _input, out: features.append(out))
    with torch.no_grad():
        ours(x)
        expected = peer.forward_intermediates(x, indices=[0, 1, 2, 3], intermediates_only=True)
    for feature, other in zip(features, expected, strict=True):
        assert relative(feature, other) < 1e-5


def copy_from_timm(ours: ConvNeXt, peer: nn.Module) -> None:
    """Layer by layer, on purpose without the project's tables of names."""
    pairs = list(zip(ours.downsample_layers[0], peer.stem, strict=True))
    for i, stage in enumerate(peer.stages):
        if i:
            pairs += zip(ours.downsample_layers[i], stage.downsample, strict=True)
        for block, other in zip(ours.stages[i], stage.blocks, strict=True):
            pairs += [
                (block.dwconv, other.conv_dw),
                (block.norm, other.norm),
                (block.pwconv1, other.mlp.fc1),
                (block.pwconv2, other.mlp.fc2),
            ]
            block.gamma.data.copy_(other.gamma)
    for layer, other in pairs:
        layer.weight.data.copy_(other.weight.view_as(layer.weight))
        layer.bias.data.copy_(other.bias)


@pytest.mark.both_paths
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 95), (127, 32)])
def test_strides_channels_and_memory_format(size):
    outs = make()(torch.randn(2, 3, *size))
    height, width = size[0] // 4, size[1] // 4
    for channels, y in zip(TINY["dims"], outs, strict=True):
        assert y.shape == (2, channels, height, width)
        assert y.is_contiguous(memory_format=torch.channels_last)
        height, width = height // 2, width // 2


def test_too_small_an_image_is_refused():
    with pytest.raises(UserError, match="at least 32 x 32 pixels, got 31 x 64"):
        make()(torch.randn(1, 3, 31, 64))


@pytest.mark.both_paths
@pytest.mark.parametrize("out_indices", [(0, 1, 2, 3), (1, 3), (0,), (0, 1)])
def test_every_parameter_gets_a_gradient(out_indices):
    model = make(out_indices=out_indices)
    outs = model(torch.randn(1, 3, 64, 64))
    assert len(outs) == len(out_indices)
    sum(y.square().sum() for y in outs).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    norms = {name.split(".")[0] for name in model.state_dict() if name.startswith("norm")}
    assert norms == {f"norm{i}" for i in out_indices}


@pytest.mark.both_paths(slow=True)
@pytest.mark.parametrize("frozen", [-1, 0, 2, 4])
def test_frozen_stages_stay_frozen_and_in_eval_mode(frozen):
    model = make(frozen_stages=frozen, drop_path_rate=0.5)
    assert model.train() is model
    assert model.eval() is model
    model.train()
    for i in range(4):
        stem_or_stage = frozen > i or (i == 0 and frozen == 0)
        assert model.downsample_layers[i].training is not stem_or_stage
        assert model.stages[i].training is not (frozen > i)
        trains = {p.requires_grad for p in model.stages[i].parameters()}
        assert trains == {frozen <= i}
    model(torch.randn(2, 3, 32, 32))[3].sum().backward()
    for i in range(4):
        grads = [p.grad for p in model.stages[i].parameters()]
        assert all((grad is None) == (frozen > i) for grad in grads)
    assert all(p.requires_grad for p in model.norm3.parameters())


@pytest.mark.both_paths(slow=True, taken=False)
@pytest.mark.parametrize("use_grn", [False, True])
def test_checkpointing_changes_nothing(use_grn):
    plain = make(drop_path_rate=0.4, use_grn=use_grn).train()
    saving = make(drop_path_rate=0.4, use_grn=use_grn, with_cp=True).train()
    x = torch.randn(3, 3, 64, 64)
    grads = []
    for model in (plain, saving):
        torch.manual_seed(5)
        sum(y.square().sum() for y in model(x)).backward()
        grads.append([p.grad for p in model.parameters()])
    for one, other in zip(*grads, strict=True):
        assert torch.equal(one, other)


@pytest.mark.both_paths(slow=True)
def test_checkpointing_recomputes_the_blocks():
    model = make(with_cp=True).train()
    calls = []
    model.stages[0][0].pwconv1.register_forward_hook(lambda *_: calls.append(1))
    model(torch.randn(1, 3, 32, 32))[3].sum().backward()
    assert len(calls) == 2


@pytest.mark.both_paths(slow=True)
def test_maps_are_contiguous_where_a_head_needs_it():
    x = torch.randn(2, 3, 64, 96)
    for y, expected in zip(make(channels_last=False)(x), make()(x), strict=True):
        assert y.is_contiguous() and not expected.is_contiguous()
        assert torch.equal(y, expected)


def test_channels_last_input_gives_the_same():
    model = make()
    x = torch.randn(2, 3, 64, 64)
    for one, other in zip(
        model(x), model(x.contiguous(memory_format=torch.channels_last)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.both_paths(slow=True)
def test_bfloat16_autocast_stays_within_its_precision():
    model = make()
    x = torch.randn(2, 3, 64, 64)
    expected = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outs = model(x)
    for one, other in zip(outs, expected, strict=True):
        assert 1e-5 < relative(one.float(), other) < 2e-2


@pytest.mark.parametrize("scale", [0.5, 0.0])
@pytest.mark.parametrize("fused", [False, True])
def test_the_stream_under_autocast(fused, scale, monkeypatch):
    """Branches are added in float32, or in 16 bits with ``half_stream``."""
    streams = set()

    def add_branch(self, x, factor):
        streams.add(x.dtype)
        out = plain(self, x, factor)
        assert out.dtype == x.dtype
        return out

    plain = Block._add_branch_plain
    monkeypatch.setattr(
        Block, "_add_branch_by_kernels" if fused else "_add_branch_plain", add_branch
    )
    if fused:
        monkeypatch.setattr(kernels, "usable", lambda *_: True)
    x, errors = torch.randn(2, 3, 64, 64), []
    for half in (False, True):
        model = make(layer_scale_init_value=scale, half_stream=half).eval()
        exact = copy.deepcopy(model).double()(x.double())
        streams.clear()
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            maps = model(x)
        assert streams == {torch.bfloat16 if half else torch.float32}
        assert half or all(y.dtype == torch.float32 for y in maps)
        errors.append(sum(relative(y, z) for y, z in zip(maps, exact, strict=True)))
    assert errors[0] < errors[1] < 3 * errors[0]


@pytest.mark.parametrize(
    "build",
    [
        make,
        lambda: ConvNeXtClassifier(3, TINY, layer_scale_init_value=1.0),
        lambda: IsotropicConvNeXt(3, dict(depth=2, dim=8), layer_scale_init_value=1.0),
    ],
    ids=["backbone", "classifier", "isotropic"],
)
def test_vmap_over_images(build):
    """torch.func's transforms work on whole models, as on timm's."""
    torch.manual_seed(0)
    model, x = build().eval(), torch.randn(2, 3, 32, 32)
    mapped, whole = torch.vmap(lambda image: model(image[None]))(x), model(x)
    for one, other in zip(*map(as_list, (mapped, whole)), strict=True):
        assert relative(one[:, 0], other) < 1e-5


def as_list(found: torch.Tensor | tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    return [found] if torch.is_tensor(found) else list(found)


def test_stochastic_depth_rates_grow_linearly():
    model = ConvNeXt(TINY, drop_path_rate=0.4)
    blocks = [block for stage in model.stages for block in stage]
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_grn_equals_timms():
    from timm.layers.grn import GlobalResponseNorm

    from convnext_dense.models.layers import GRN

    torch.manual_seed(0)
    ours, peer = GRN(6), GlobalResponseNorm(6, channels_last=True)
    weight, bias = torch.randn(6), torch.randn(6)
    ours.load_state_dict({"gamma": weight.view(1, 1, 1, 6), "beta": bias.view(1, 1, 1, 6)})
    peer.load_state_dict({"weight": weight, "bias": bias})
    x = torch.randn(2, 5, 4, 6)
    torch.testing.assert_close(ours(x), peer(x))


def test_initial_weights_follow_the_release():
    torch.manual_seed(0)
    model = ConvNeXt("atto")
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.bias.abs().max() == 0
            if module.weight.numel() > 5000:
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.stages[0][0].gamma.eq(1e-6).all()
    assert ConvNeXt(TINY, layer_scale_init_value=0).stages[0][0].gamma is None


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(arch="giant"), "Unknown ConvNeXt arch 'giant': choose one of atto, femto, pico"),
        (dict(arch=dict(depths=(1, 1, 1, 1))), "dict\\(depths=..., dims=...\\)"),
        (dict(arch=dict(depths=(1, 1, 1), dims=(8, 8, 8))), "four positive integers"),
        (dict(out_indices=(0, 4)), "out_indices"),
        (dict(out_indices=(1, 0)), "ascending"),
        (dict(out_indices=()), "out_indices"),
        (dict(frozen_stages=5), "frozen_stages must lie between -1 and 4, got 5"),
        (dict(drop_path_rate=1.5), "drop_path_rate"),
    ],
)
def test_wrong_arguments_are_named(kwargs, message):
    with pytest.raises(UserError, match=message):
        ConvNeXt(**{"arch": TINY, **kwargs})


OPTIONS = dict(
    arch="tiny",
    in_channels=3,
    drop_path_rate=0.0,
    layer_scale_init_value=1e-6,
    frozen_stages=-1,
    with_cp=False,
    use_grn=False,
    fast=True,
    half_stream=False,
    init_cfg=None,
)


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        (ConvNeXt, dict(out_indices=(0, 1, 2, 3), channels_last=True)),
        (ConvNeXtClassifier, dict(num_classes=inspect.Parameter.empty, head_init_scale=1.0)),
    ],
)
def test_signatures_list_every_option_with_its_default(kind, own):
    """The check of configs reads them; an unknown option is refused."""
    parameters = inspect.signature(kind).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == OPTIONS | own
    required = [name for name, default in own.items() if default is inspect.Parameter.empty]
    with pytest.raises(TypeError, match="'archh'"):
        kind(**dict.fromkeys(required, 3), archh="tiny")


def test_models_import_neither_the_engine_nor_a_runner():
    """In a new process, with an empty package in the place of convnext_dense/__init__.py."""
    folder = Path(inspect.getfile(ConvNeXt)).parents[1]
    script = (
        "import sys, types\n"
        "package = types.ModuleType('convnext_dense')\n"
        f"package.__path__ = [{str(folder)!r}]\n"
        "sys.modules['convnext_dense'] = package\n"
        "from convnext_dense.models import ConvNeXt\n"
        "unwanted = ('convnext_dense.engine', 'mmengine.runner')\n"
        "sys.exit([name for name in sys.modules if name.startswith(unwanted)] or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_is_registered_in_the_root_registry():
    model = MODELS.build(dict(type="ConvNeXt", arch=copy.deepcopy(TINY)))
    assert isinstance(model, ConvNeXt)


def test_all_variants_are_well_formed():
    assert set(VARIANTS) == {
        "atto", "femto", "pico", "nano", "tiny", "small", "base", "large", "xlarge", "huge"
    }  # fmt: skip
    for variant in VARIANTS.values():
        dims = variant["dims"]
        assert dims == tuple(dims[0] * 2**stage for stage in range(4))


def test_pretrained_weights_are_loaded_and_reported(tmp_path, caplog):
    source = make(seed=1)
    torch.save(
        {"state_dict": {f"backbone.{k}": v for k, v in source.state_dict().items()}},
        tmp_path / "w.pth",
    )
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "w.pth"))
    model = ConvNeXt(TINY, layer_scale_init_value=1.0, init_cfg=init_cfg)
    model.init_weights()
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), source.state_dict().values(), strict=True)
    )
    model.init_cfg["map"] = "cpu"
    with pytest.raises(UserError, match="does not know map.*Known: checkpoint, sha256"):
        model.init_weights()
