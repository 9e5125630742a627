"""Layers written for a runtime: the trained function, in the operators it runs fastest."""

from collections import Counter

import onnx
import pytest
import torch

from convnext_dense.export.exportable import Exportable
from convnext_dense.export.forms import AS_TRAINED, ONNX_FORM, OPENVINO_FORM, Form, in_form
from convnext_dense.models import ConvNeXt
from tests.export.graphs import results, translate

SMALL = dict(depths=[1, 1, 1, 1], dims=[8, 16, 24, 32])
FORMS = [ONNX_FORM, OPENVINO_FORM, Form(norms_by_means=True)]


def backbone(**options) -> ConvNeXt:
    torch.manual_seed(0)
    model = ConvNeXt(SMALL, **options).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def formed(model: torch.nn.Module, form: Form) -> torch.nn.Module:
    whole = torch.nn.Sequential(model)
    made = in_form(Exportable(whole, {}, {}, description=None), form).module
    assert made[0] is not model and whole[0] is model
    return made[0]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("options", [
    {},
    dict(layer_scale_init_value=0.0),
    dict(layer_scale_init_value=0.0, use_grn=True),
], ids=str)  # fmt: skip
def test_a_backbone_keeps_its_feature_maps(form, options):
    model = backbone(**options)
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for expected, found in zip(
            model.double()(x.double()), formed(model, form)(x.double()), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_model_as_trained_is_not_copied():
    model = Exportable(backbone(), {}, {}, description=None)
    assert in_form(model, AS_TRAINED) is model


class LastMap(torch.nn.Module):
    """The last feature map of a backbone."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)[-1]


@pytest.mark.parametrize("form", [ONNX_FORM, OPENVINO_FORM], ids=str)
def test_graphs_have_the_forms_operators_and_the_feature_maps(form, tmp_path):
    model = backbone(out_indices=(3,))
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(x)[0].numpy()
    sessions = translate(LastMap(formed(model, form)), {"x": x}, {"x": {}}, tmp_path)
    for found in results(sessions, {"x": x}):
        assert abs(found - expected).max() < 1e-4 * abs(expected).max()
    graph = onnx.load(tmp_path / "model.onnx").graph
    kinds = Counter(node.op_type for node in graph.node)
    # A depthwise convolution and two products for each block, the stem and three downsamplings.
    assert kinds["Conv"] == 4 * 3 + 4 and kinds["Gelu"] == 4 and not kinds["MatMul"]
    if form.norms_by_means:
        assert not kinds["LayerNormalization"] and not kinds["Transpose"]
        assert not kinds["Reciprocal"]  # OpenVINO 2026.4 computes it wrongly behind a mean
    else:
        assert kinds["LayerNormalization"] == 4 + 4 + 1
        assert kinds["Transpose"] == 2 * kinds["LayerNormalization"]
