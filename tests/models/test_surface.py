"""What a backbone says of itself, against timm and its own maps; and its traces."""

import pytest
import timm
import torch

from convnext_dense.errors import UserError
from convnext_dense.models import (
    ConvNeXt,
    ConvNeXtClassifier,
    ConvNeXtRoadmap,
    ConvNeXtRoadmapClassifier,
)
from convnext_dense.weights import load_pretrained
from tests.models.test_convnext import relative

ARCH = dict(depths=(1, 1, 2, 1), dims=(8, 12, 16, 20))


@pytest.mark.parametrize("out_indices", [(0, 1, 2, 3), (1, 3), (0, 1)])
@pytest.mark.parametrize("build", [ConvNeXt, ConvNeXtRoadmap])
def test_it_says_what_it_returns(build, out_indices):
    options = dict(arch=ARCH) if build is ConvNeXt else dict(switches=dict(width=8))
    model = build(**options, out_indices=out_indices)
    maps = model(torch.zeros(1, 3, 128, 192))
    assert tuple(one.shape[1] for one in maps) == model.out_channels
    assert tuple(128 // one.shape[2] for one in maps) == model.strides
    assert model.feature_info.channels() == list(model.out_channels)
    assert model.feature_info.reduction() == list(model.strides)
    last = model.forward_features(torch.zeros(1, 3, 128, 192))
    assert last.shape[1] == model.num_features == model.feature_info.channels(-1)
    for i, name in zip(out_indices, model.feature_info.module_name(), strict=True):
        assert model.get_submodule(name) is model.stages[i]


def test_the_names_say_what_timms_do():
    peer = timm.create_model("convnext_atto", depths=ARCH["depths"], dims=ARCH["dims"]).eval()
    features = timm.create_model("convnext_atto", features_only=True, out_indices=(1, 3))
    ours = ConvNeXtClassifier(1000, ARCH, init_cfg=None).eval()
    load_pretrained(ours, peer.state_dict())
    assert [dict(one) for one in ours.feature_info] == [
        dict(one, index=i) for i, one in enumerate(peer.feature_info)
    ]
    assert ours.num_features == peer.num_features
    backbone = ConvNeXt("atto", out_indices=(1, 3))
    for method in ("channels", "reduction"):
        expected = getattr(features.feature_info, method)
        assert getattr(backbone.feature_info, method)() == expected()
        assert getattr(backbone.feature_info, method)(0) == expected(0)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert relative(ours.forward_features(x), peer.forward_features(x)) < 1e-5
        assert relative(ours(x), peer(x)) < 1e-5


def test_the_roadmaps_classifier_too():
    model = ConvNeXtRoadmapClassifier(5, switches=dict(width=8))
    assert model.num_features == model.dims[-1] == model.out_channels[-1]


@pytest.mark.parametrize("options", [{}, dict(use_grn=True, layer_scale_init_value=0)])
@pytest.mark.parametrize("way", ["fx", "jit.trace"])
def test_traces_compute_the_same_at_other_sizes(way, options):
    model = ConvNeXt(ARCH, drop_path_rate=0.1, **options).eval()
    x, other = torch.randn(1, 3, 64, 96), torch.randn(2, 3, 33, 70)
    if way == "fx":
        traced = torch.fx.symbolic_trace(model)
        with pytest.raises(UserError, match="at least 32 x 32 pixels, got 31 x 64"):
            traced(torch.zeros(1, 3, 31, 64))
    else:
        traced = torch.jit.trace(model, x)
    for images in (x, other):
        for one, expected in zip(traced(images), model(images), strict=True):
            assert relative(one, expected) < 1e-5


def test_a_symbolic_trace_is_trained():
    model = ConvNeXt(ARCH)
    traced = torch.fx.symbolic_trace(model)
    sum(one.square().sum() for one in traced(torch.randn(1, 3, 64, 64))).backward()
    assert all(one.grad is not None for one in model.parameters())
