"""Miniatures of the three kinds of models, from pictures to losses and results.

Beside them stands the plain path (``fast=False``): on the same device for what is drawn on it, in
float64 on the CPU for maps and logits.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
from detector import training_data, views_of
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from convnext_dense.benchmark import whole_models
from convnext_dense.models import Block

from .cases import BF16, FLOAT, WIDTH, require
from .check import Check, Results, compare, fused, tf32

CONFIGS = Path(__file__).parents[2] / "configs"
KINDS = {
    "detector": "detection/mask_rcnn_convnext_a_shapes.py",
    "segmentor": "segmentation/upernet_convnext_a_shapes.py",
    "classifier": "classification/convnext_a_shapes.py",
}
SIZE = {"cpu": (32, 48), "cuda": (120, 168)}  # of the pictures
STEPS = 3
RATE = 1e-3  # of plain gradient descent: normed steps would make rounding errors large
# Allowed differences, in shares of the largest value; in bf16 twice what the plain path is off in
# bf16 comes on top. In training a last bit can move a proposal or a sample.
TRAINING_BANDS = {FLOAT: 1e-2, BF16: 1e-1}
BANDS = {FLOAT: 1e-4, BF16: 1e-2}


def miniature(kind: str, device: str) -> tuple[Config, nn.Module]:
    """A model with weights that count, and its config."""
    cfg = deepcopy(whole_models.read_config(str(CONFIGS / KINDS[kind])))
    dims = (WIDTH[device],) * 4
    cfg.model.backbone.update(
        arch=dict(depths=(1, 1, 1, 1), dims=dims), layer_scale_init_value=0.5, drop_path_rate=0.0
    )
    if kind == "detector":
        cfg.model.neck.in_channels = list(dims)
        cfg.tta_views.scales = [SIZE[device]]
        for one in (cfg.model.test_cfg.rcnn, cfg.tta_views["merge"]):  # a name of ConfigDict too
            one.update(score_thr=0.0, max_per_img=20)
    if kind == "segmentor":
        cfg.model.decode_head.in_channels = list(dims)
        cfg.model.auxiliary_head.in_channels = dims[2]
        cfg.model.data_preprocessor.size = SIZE[device]
    torch.manual_seed(0)
    with scope(cfg):
        model = whole_models.MODELS.build(cfg.model)
    for module in model.modules():
        if isinstance(module, Block):
            nn.init.normal_(module.gamma, mean=0.5, std=0.1)
    if kind == "detector":  # scores far apart, so that no last bit decides their order
        nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=0.5)
        nn.init.normal_(model.roi_head.mask_head.conv_logits.weight, std=0.5)
    return cfg, model.to(device)


def plain(model: nn.Module) -> nn.Module:
    """A copy that takes the plain path."""
    copy = deepcopy(model)
    for module in copy.modules():
        if isinstance(module, Block):
            module.fast = False
    return copy


@contextmanager
def scope(cfg: Config) -> Iterator[None]:
    """The registry of a config's toolbox."""
    name = cfg.get("default_scope") or "mmengine"
    with DefaultScope.overwrite_default_scope(name):
        yield


def batch(kind: str, model: nn.Module, device: str) -> dict:
    """Two random pictures with their truth, as a loader's."""
    size = SIZE[device]
    if kind == "detector":
        return training_data(size, 2, model.roi_head.bbox_head.num_classes)
    draw = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (2, 3, *size), generator=draw, dtype=torch.uint8)
    if kind == "classifier":
        return dict(inputs=pictures, targets=torch.tensor([0, 1]), paths=["", ""])
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    classes = model.decode_head.num_classes
    samples = []
    for _ in pictures:
        labels = torch.randint(0, classes, (1, *size), generator=draw)
        meta = dict(img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1.0, 1.0))
        samples.append(SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels)))
    return dict(inputs=list(pictures), data_samples=samples)


def cast_to(dtype: torch.dtype, device: str) -> AbstractContextManager:
    """Autocast, where it is wanted."""
    return nullcontext() if dtype == FLOAT else torch.autocast(device, dtype)


def trained(model: nn.Module, data: dict, cast: AbstractContextManager) -> Results:
    """The losses of three iterations, and the backbone's gradients in the first one."""
    torch.manual_seed(3)  # the samplers draw
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    found = {}
    model.train()
    for step in range(STEPS):
        with cast:
            losses = model(**model.data_preprocessor(deepcopy(data), True), mode="loss")
        loss = model.parse_losses(losses)[0]
        assert loss.isfinite(), f"The loss of step {step + 1} is {loss.item()}."
        optimizer.zero_grad()
        loss.backward()
        found[f"loss of step {step + 1}"] = loss
        if step == 0:
            named = model.backbone.named_parameters()
            found |= {f"gradient of {name}": p.grad.clone() for name, p in named}
        optimizer.step()
    return found


def check_training(kind: str, dtype: torch.dtype, device: str) -> None:
    """Three iterations: losses of the plain path in float32; in float32 its gradients too."""
    require(device, dtype)
    cfg, model = miniature(kind, device)
    other, data = plain(model), batch(kind, model, device)
    with scope(cfg), tf32(False):
        with fused():
            found = trained(model, data, cast_to(dtype, device))
        with fused(taken=False):
            exact = trained(deepcopy(other), data, nullcontext())
        beside = trained(other, data, cast_to(dtype, device)) if dtype == BF16 else None
    if beside is not None:
        # Other proposals and samples than in float32: gradients are another batch's.
        assert all(one.isfinite().all() for one in found.values()), "A gradient is not finite."
        found = {name: one for name, one in found.items() if one.dim() == 0}
        exact = {name: exact[name] for name in found}
    compare(found, exact, TRAINING_BANDS[dtype], beside)


def dense_outputs(kind: str, model: nn.Module, pictures: Tensor) -> Results:
    """Maps of the neck, or logits of pixels or pictures."""
    if kind == "classifier":
        return {"logits": model.backbone(pictures)}
    maps = model.extract_feat(pictures)
    if kind == "segmentor":
        return {"logits": model.decode_head(maps)}
    return {f"map {number}": one for number, one in enumerate(maps)}


def check_evaluation(kind: str, dtype: torch.dtype, device: str) -> None:
    """Maps and logits, beside the plain path in float64 on the CPU."""
    require(device, dtype)
    cfg, model = miniature(kind, device)
    model.eval()
    data = batch(kind, model, device)
    with scope(cfg), tf32(False), torch.no_grad():
        pictures = model.data_preprocessor(data, False)["inputs"]
        with cast_to(dtype, device), fused():
            found = dense_outputs(kind, model, pictures)
        with cast_to(dtype, device):
            beside = dense_outputs(kind, plain(model), pictures) if dtype == BF16 else None
        exact = dense_outputs(kind, plain(model).cpu().double(), pictures.cpu().double())
    compare(found, exact, BANDS[dtype], beside)


def check_detections(views: bool, device: str) -> None:
    """Boxes and masks of a picture: at one scale, or in all views and merged."""
    require(device)
    cfg, model = miniature("detector", device)
    model.eval()
    data = batch("detector", model, device)
    data = {key: values[:1] for key, values in data.items()}
    results = []
    with scope(cfg), tf32(False), torch.no_grad():
        for one in (model, plain(model)):
            predict = partial(views_of(cfg).predict, one) if views else one.test_step
            with fused(taken=one is model):
                (sample,) = predict(deepcopy(data))
            results.append(sample.pred_instances)
    same_detections(*results)


def same_detections(found, wanted) -> None:
    """Whether at least 9 of 10 detections have a partner: label, score, box and mask.

    A last bit may decide which of two equal boxes is left; no more than that.

    Raises:
        AssertionError: Where they do not.
    """
    assert len(wanted) >= 5, f"Only {len(wanted)} detections: nothing is compared."
    partners = 0
    for index in range(len(wanted)):
        near = (found.bboxes - wanted.bboxes[index]).abs().amax(1) < 0.1  # pixels
        near &= found.labels == wanted.labels[index]
        near &= (found.scores - wanted.scores[index]).abs() < 1e-3
        for other in near.nonzero()[:, 0].tolist():
            differing = (found.masks[other] != wanted.masks[index]).float().mean().item()
            if differing < 0.01:
                partners += 1
                break
    assert partners >= 0.9 * max(len(wanted), len(found)), (
        f"{partners} of {len(wanted)} detections of the plain path are among {len(found)} here."
    )


CHECKS = (
    *(
        Check(f"whole/{kind}-{what}{name}", partial(check, kind, dtype))
        for kind in KINDS
        for what, check in (("train", check_training), ("eval", check_evaluation))
        for name, dtype in (("", FLOAT), ("-bf16", BF16))
    ),
    Check("whole/detector-results", partial(check_detections, False)),
    Check("whole/detector-views", partial(check_detections, True)),
)
