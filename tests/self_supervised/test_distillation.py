"""Distillation: the teacher stays as it is, and the student's losses are what they say."""

import copy

import numpy as np
import pytest
import timm
import torch
import torchvision

from convnext_dense.errors import UserError
from convnext_dense.models import IsotropicConvNeXt
from convnext_dense.self_supervised import Distillation
from convnext_dense.self_supervised.teacher import Teacher
from tests.self_supervised.conftest import ARCH, BLOCKS, PREPROCESSOR, V1, randomise


def new_model(teacher, blocks: dict = V1, **options) -> Distillation:
    backbone = dict(type="ConvNeXtTrunk", arch=ARCH, **blocks)
    torch.manual_seed(0)
    return Distillation(backbone, dict(checkpoint=str(teacher)), PREPROCESSOR, **options)


def views(images: int = 3, crops: int = 2) -> dict:
    """Views of different colours: pooled features of plain noise are all alike."""
    torch.manual_seed(2)
    sizes = dict(inputs=(images * 2, 64), crops=(images * crops, 32))
    return dict(
        {
            name: torch.randn(n, 3, side, side) + 3 * torch.randn(n, 3, 1, 1)
            for name, (n, side) in sizes.items()
        },
        paths=["x"] * images,
    )


def test_the_teacher_is_frozen_and_in_no_checkpoint(teacher):
    model = new_model(teacher).train()
    before = copy.deepcopy(model.teacher.network.state_dict())
    network = model.teacher.network
    assert not network.training and not any(m.training for m in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not any(
        "teacher" in name for name in (*model.state_dict(), *dict(model.named_modules()))
    )
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    for _ in range(2):
        sum(model(**views(), mode="loss").values()).backward()
        optimizer.step()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert copy.deepcopy(model).teacher is model.teacher


@BLOCKS
def test_every_parameter_gets_a_gradient(teacher, blocks):
    model = randomise(new_model(teacher, blocks))
    sum(model(**views(), mode="loss").values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_losses_are_those_of_whitened_features(teacher):
    model, batch = randomise(new_model(teacher, stages=(2, 3), dense_weight=3.0)), views()
    losses = {k: v.item() for k, v in model(**batch, mode="loss").items()}
    with torch.no_grad():
        student = [y.numpy() for y in model.backbone.stage_maps(batch["inputs"])]
        *_, local = model.backbone.stage_maps(batch["crops"])
        truth = [y.numpy() for y in model.teacher(batch["inputs"])]
    dense = []
    for stage, layer in zip((2, 3), model.projections, strict=True):
        weight, bias = layer.weight.detach().numpy()[..., 0, 0], layer.bias.detach().numpy()
        mine = np.einsum("oc,nchw->nohw", weight, student[stage]) + bias[:, None, None]
        dense.append(smooth_l1(mine - white(truth[stage])).mean())
    assert losses["loss_dense"] == pytest.approx(3 * np.mean(dense), rel=1e-4)
    whole = white(truth[3].mean((2, 3))).reshape(3, 2, -1).mean(1)
    pooled = [
        student[3].mean((2, 3)).reshape(3, 2, -1),
        local.numpy().mean((2, 3)).reshape(3, 2, -1),
    ]
    pooled = np.concatenate(pooled, 1) @ model.pooled_projection.weight.detach().numpy().T
    pooled = pooled + model.pooled_projection.bias.detach().numpy()
    expected = smooth_l1(pooled - whole[:, None]).mean()
    assert losses["loss_pooled"] == pytest.approx(expected, rel=1e-4)


def white(x: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 over the channels."""
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)


def smooth_l1(x: np.ndarray) -> np.ndarray:
    """With beta 2."""
    return np.where(abs(x) < 2, x**2 / 4, abs(x) - 1)


def test_the_students_own_weights_as_teacher_give_equal_maps(teacher):
    network = Teacher(str(teacher)).network
    assert network.dims == (6, 8, 10, 16) and network.depths == (1, 2, 1, 1)
    assert network.stages[0][0].gamma is None and network.stages[0][0].grn.gamma.any()


def transformers_dinov3() -> torch.nn.Module:
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = dict(hidden_sizes=[8, 8, 12, 16], depths=[1, 1, 2, 1])
    return library.DINOv3ConvNextModel(library.DINOv3ConvNextConfig(**sizes))


def dinov3_map(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    # The stages' own parent differs between versions of the library.
    (stages,) = [m.stages for m in model.modules() if "stages" in dict(m.named_children())]
    for stage in stages:
        x = stage(x)
    return x


def timm_map(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return model.stages(model.stem(x))


@pytest.mark.parametrize(
    ("build", "last_map"),
    [
        pytest.param(lambda: timm.create_model("convnext_atto"), timm_map, id="timm"),
        pytest.param(lambda: timm.create_model("convnextv2_atto"), timm_map, id="timm-V2"),
        pytest.param(
            lambda: torchvision.models.convnext_tiny(),
            lambda model, x: model.features(x),
            marks=pytest.mark.slow,
            id="torchvision",
        ),
        pytest.param(transformers_dinov3, dinov3_map, marks=pytest.mark.slow, id="DINOv3"),
    ],
)
def test_teachers_of_other_libraries_are_read(build, last_map, tmp_path):
    theirs = randomise(build()).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    x = torch.randn(1, 3, 64, 64)
    *_, last = Teacher(str(tmp_path / "theirs.pth"))(x)
    with torch.no_grad():
        torch.testing.assert_close(last, last_map(theirs, x), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (lambda: torchvision.models.resnet18(), "no ConvNeXt in a known naming"),
        (
            lambda: IsotropicConvNeXt(3, dict(depth=2, dim=8)),
            "no ConvNeXt in a known naming|without a stem and 4 stages",
        ),
    ],
    ids=["resnet", "isotropic"],
)
def test_a_teacher_of_another_kind_is_refused(network, reason, tmp_path):
    torch.save(network().state_dict(), tmp_path / "other.pth")
    with pytest.raises(UserError, match=f"other.pth is no ConvNeXt that can be read: .*({reason})"):
        Teacher(str(tmp_path / "other.pth"))


def test_stages_without_the_last_are_refused(teacher):
    with pytest.raises(UserError, match="must contain the last stage"):
        new_model(teacher, stages=(0, 1))
