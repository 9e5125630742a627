"""Small versions of the three kinds of models, from images to losses and results.

They are compared with the plain path (``fast=False``): on the same device where random numbers are
drawn on it, in float64 on the CPU for feature maps and logits.
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
from .check import Check, Results, compare, expect_fused_path, tf32

CONFIGS = Path(__file__).parents[2] / "configs"
KINDS = {
    "detector": "detection/mask_rcnn_convnext_a_shapes.py",
    "segmentor": "segmentation/upernet_convnext_a_shapes.py",
    "classifier": "classification/convnext_a_shapes.py",
}
SIZE = {"cpu": (32, 48), "cuda": (120, 168)}  # of the images
STEPS = 3
LEARNING_RATE = 1e-3  # of SGD: with normalised steps rounding errors would grow
# Allowed differences relative to the largest value; in bf16 twice the plain path's error in bf16 is
# added. In training a last bit can change a proposal or a sample.
TRAINING_TOLERANCES = {FLOAT: 1e-2, BF16: 1e-1}
TOLERANCES = {FLOAT: 1e-4, BF16: 1e-2}


def small_model(kind: str, device: str) -> tuple[Config, nn.Module]:
    """A model whose weights all have an effect, and its config."""
    cfg = deepcopy(whole_models.read_config(str(CONFIGS / KINDS[kind])))
    dims = (WIDTH[device],) * 4
    cfg.model.backbone.update(
        arch=dict(depths=(1, 1, 1, 1), dims=dims), layer_scale_init_value=0.5, drop_path_rate=0.0
    )
    if kind == "detector":
        cfg.model.neck.in_channels = list(dims)
        cfg.tta_views.scales = [SIZE[device]]
        # "merge" is also the name of a method of ConfigDict.
        for settings in (cfg.model.test_cfg.rcnn, cfg.tta_views["merge"]):
            settings.update(score_thr=0.0, max_per_img=20)
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
    """Two random images with ground truth, as from a loader."""
    size = SIZE[device]
    if kind == "detector":
        return training_data(size, 2, model.roi_head.bbox_head.num_classes)
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, *size), generator=draw, dtype=torch.uint8)
    if kind == "classifier":
        return dict(inputs=images, targets=torch.tensor([0, 1]), paths=["", ""])
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    classes = model.decode_head.num_classes
    samples = []
    for _ in images:
        labels = torch.randint(0, classes, (1, *size), generator=draw)
        meta = dict(img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1.0, 1.0))
        samples.append(SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels)))
    return dict(inputs=list(images), data_samples=samples)


def cast_to(dtype: torch.dtype, device: str) -> AbstractContextManager:
    """Autocast for 16-bit types; nothing for float32."""
    return nullcontext() if dtype == FLOAT else torch.autocast(device, dtype)


def trained(model: nn.Module, data: dict, cast: AbstractContextManager) -> Results:
    """The losses of three iterations, and the backbone's gradients in the first one."""
    torch.manual_seed(3)  # the samplers draw
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE)
    actual = {}
    model.train()
    for step in range(STEPS):
        with cast:
            inputs = model.data_preprocessor(deepcopy(data), training=True)
            losses = model(**inputs, mode="loss")
        loss = model.parse_losses(losses)[0]
        assert loss.isfinite(), f"The loss of step {step + 1} is {loss.item()}."
        optimizer.zero_grad()
        loss.backward()
        actual[f"loss of step {step + 1}"] = loss
        if step == 0:
            named = model.backbone.named_parameters()
            actual |= {f"gradient of {name}": p.grad.clone() for name, p in named}
        optimizer.step()
    return actual


def check_training(kind: str, dtype: torch.dtype, device: str) -> None:
    """Three iterations, compared with the plain path in float32; gradients in float32 only."""
    require(device, dtype)
    cfg, model = small_model(kind, device)
    other, data = plain(model), batch(kind, model, device)
    with scope(cfg), tf32(allowed=False):
        with expect_fused_path():
            actual = trained(model, data, cast_to(dtype, device))
        with expect_fused_path(taken=False):
            exact = trained(deepcopy(other), data, nullcontext())
        plain_results = trained(other, data, cast_to(dtype, device)) if dtype == BF16 else None
    if plain_results is not None:
        # Proposals and samples differ from those in float32, and so do the gradients.
        assert all(v.isfinite().all() for v in actual.values()), "A gradient is not finite."
        actual = {name: value for name, value in actual.items() if value.dim() == 0}
        exact = {name: exact[name] for name in actual}
    compare(actual, exact, TRAINING_TOLERANCES[dtype], plain_results)


def dense_outputs(kind: str, model: nn.Module, images: Tensor) -> Results:
    """Feature maps of the neck, or logits of pixels or images."""
    if kind == "classifier":
        return {"logits": model.backbone(images)}
    maps = model.extract_feat(images)
    if kind == "segmentor":
        return {"logits": model.decode_head(maps)}
    return {f"map {i}": y for i, y in enumerate(maps)}


def check_evaluation(kind: str, dtype: torch.dtype, device: str) -> None:
    """Feature maps and logits, compared with the plain path in float64 on the CPU."""
    require(device, dtype)
    cfg, model = small_model(kind, device)
    model.eval()
    data = batch(kind, model, device)
    with scope(cfg), tf32(allowed=False), torch.no_grad():
        images = model.data_preprocessor(data, training=False)["inputs"]
        with cast_to(dtype, device), expect_fused_path():
            actual = dense_outputs(kind, model, images)
        with cast_to(dtype, device):
            plain_results = dense_outputs(kind, plain(model), images) if dtype == BF16 else None
        exact = dense_outputs(kind, plain(model).cpu().double(), images.cpu().double())
    compare(actual, exact, TOLERANCES[dtype], plain_results)


def check_detections(device: str, views: bool) -> None:
    """Boxes and masks of an image: at one scale, or merged from all views."""
    require(device)
    cfg, model = small_model("detector", device)
    model.eval()
    data = batch("detector", model, device)
    data = {key: values[:1] for key, values in data.items()}
    results = []
    with scope(cfg), tf32(allowed=False), torch.no_grad():
        for network in (model, plain(model)):
            predict = network.test_step
            if views:
                predict = partial(views_of(cfg).predict, network)
            with expect_fused_path(taken=network is model):
                (sample,) = predict(deepcopy(data))
            results.append(sample.pred_instances)
    same_detections(*results)


def same_detections(actual, expected) -> None:
    """Checks that at least 9 of 10 detections match in label, score, box and mask.

    A last bit may decide which of two equal boxes is kept.

    Raises:
        AssertionError: Where fewer match.
    """
    assert len(expected) >= 5, f"Only {len(expected)} detections: too few to compare."
    matches = 0
    for index in range(len(expected)):
        near = (actual.bboxes - expected.bboxes[index]).abs().amax(1) < 0.1  # pixels
        near &= actual.labels == expected.labels[index]
        near &= (actual.scores - expected.scores[index]).abs() < 1e-3
        for other in near.nonzero()[:, 0].tolist():
            differing = (actual.masks[other] != expected.masks[index]).float().mean().item()
            if differing < 0.01:
                matches += 1
                break
    assert matches >= 0.9 * max(len(expected), len(actual)), (
        f"{matches} of {len(expected)} detections of the plain path are among {len(actual)} here."
    )


CHECKS = (
    *(
        Check(f"whole/{kind}-{mode}{suffix}", partial(check, kind, dtype))
        for kind in KINDS
        for mode, check in (("train", check_training), ("eval", check_evaluation))
        for suffix, dtype in (("", FLOAT), ("-bf16", BF16))
    ),
    Check("whole/detector-results", partial(check_detections, views=False)),
    Check("whole/detector-views", partial(check_detections, views=True)),
)
