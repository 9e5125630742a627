"""The names and shapes in the official release's 13 detectors and segmentors, by a rule.

The keys and shapes follow from the code that wrote the files, not from this project's:
facebookresearch/ConvNeXt (``object_detection`` on mmdet 2.11, ``semantic_segmentation`` on
mmsegmentation 0.11, both on mmcv 1.3), module by module. Each function below is one module of that
code. Each tensor has one value, expanded to the shape without using memory.
"""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

ARCHS = {  # depths and widths, as the release's configs state them
    "atto": ((2, 2, 6, 2), (40, 80, 160, 320)),  # not in the release: for tests that run
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
    "large": ((3, 3, 27, 3), (192, 384, 768, 1536)),
    "xlarge": ((3, 3, 27, 3), (256, 512, 1024, 2048)),
}


@dataclass(frozen=True)
class Sizes:
    """Widths of the heads: the release's, or smaller ones for a model that runs in a test."""

    classes: int
    channels: int = 256
    box_convs: int = 4
    box_fc: int = 1024
    mask_convs: int = 4
    auxiliary: int = 256


COCO, ADE = Sizes(classes=80), Sizes(classes=150, channels=512)


def affine(name: str, *weight: int) -> Shapes:
    """A layer with weight and bias; the bias is as long as the first axis."""
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def conv_norm(name: str, *weight: int) -> Shapes:
    """mmcv's ConvModule with SyncBN: no bias in the convolution, five tensors in the norm."""
    parts = ("weight", "bias", "running_mean", "running_var")
    return {
        f"{name}.conv.weight": weight,
        **{f"{name}.bn.{part}": weight[:1] for part in parts},
        f"{name}.bn.num_batches_tracked": (),
    }


def convnext(depths: tuple[int, ...], dims: tuple[int, ...]) -> Shapes:
    """ConvNeXt of the release's ``backbones/convnext.py``, with a norm for every stage."""
    shapes = affine("downsample_layers.0.0", dims[0], 3, 4, 4)
    shapes |= affine("downsample_layers.0.1", dims[0])
    for i in (1, 2, 3):
        shapes |= affine(f"downsample_layers.{i}.0", dims[i - 1])
        shapes |= affine(f"downsample_layers.{i}.1", dims[i], dims[i - 1], 2, 2)
    for i, (depth, dim) in enumerate(zip(depths, dims, strict=True)):
        for block in (f"stages.{i}.{j}" for j in range(depth)):
            shapes[f"{block}.gamma"] = (dim,)
            shapes |= affine(f"{block}.dwconv", dim, 1, 7, 7) | affine(f"{block}.norm", dim)
            shapes |= affine(f"{block}.pwconv1", 4 * dim, dim)
            shapes |= affine(f"{block}.pwconv2", dim, 4 * dim)
        shapes |= affine(f"norm{i}", dim)
    return {f"backbone.{name}": shape for name, shape in shapes.items()}


def fpn_and_rpn(dims: tuple[int, ...], channels: int, anchors: int = 3) -> Shapes:
    """mmdet 2's FPN (its fifth feature map is pooled) and RPNHead (one sigmoid score an anchor)."""
    shapes: Shapes = {}
    for i, dim in enumerate(dims):
        shapes |= affine(f"neck.lateral_convs.{i}.conv", channels, dim, 1, 1)
        shapes |= affine(f"neck.fpn_convs.{i}.conv", channels, channels, 3, 3)
    shapes |= affine("rpn_head.rpn_conv", channels, channels, 3, 3)
    shapes |= affine("rpn_head.rpn_cls", anchors, channels, 1, 1)
    return shapes | affine("rpn_head.rpn_reg", 4 * anchors, channels, 1, 1)


def box_head(name: str, sizes: Sizes, *, convs: int, fcs: int) -> Shapes:
    """mmdet 2's ConvFCBBoxHead: background is the last class, every class has its own box."""
    channels, shapes = sizes.channels, {}
    for i in range(convs):
        shapes |= conv_norm(f"{name}.shared_convs.{i}", channels, channels, 3, 3)
    for i in range(fcs):
        shapes |= affine(
            f"{name}.shared_fcs.{i}", sizes.box_fc, sizes.box_fc if i else 7 * 7 * channels
        )
    shapes |= affine(f"{name}.fc_cls", sizes.classes + 1, sizes.box_fc)
    return shapes | affine(f"{name}.fc_reg", 4 * sizes.classes, sizes.box_fc)


def mask_head(name: str, sizes: Sizes) -> Shapes:
    """mmdet 2's FCNMaskHead: plain convolutions, a transposed one, one mask per class."""
    channels, shapes = sizes.channels, {}
    for i in range(sizes.mask_convs):
        shapes |= affine(f"{name}.convs.{i}.conv", channels, channels, 3, 3)
    shapes |= affine(f"{name}.upsample", channels, channels, 2, 2)
    return shapes | affine(f"{name}.conv_logits", sizes.classes, channels, 1, 1)


def mask_rcnn(arch: str, sizes: Sizes = COCO) -> Shapes:
    """MaskRCNN with Shared2FCBBoxHead."""
    depths, dims = ARCHS[arch]
    shapes = convnext(depths, dims) | fpn_and_rpn(dims, sizes.channels)
    shapes |= box_head("roi_head.bbox_head", sizes, convs=0, fcs=2)
    return shapes | mask_head("roi_head.mask_head", sizes)


def cascade(arch: str, sizes: Sizes = COCO) -> Shapes:
    """CascadeRCNN: three box heads of four convolutions and one layer, three mask heads."""
    depths, dims = ARCHS[arch]
    shapes = convnext(depths, dims) | fpn_and_rpn(dims, sizes.channels)
    for stage in range(3):
        shapes |= box_head(f"roi_head.bbox_head.{stage}", sizes, convs=sizes.box_convs, fcs=1)
        shapes |= mask_head(f"roi_head.mask_head.{stage}", sizes)
    return shapes


def upernet(arch: str, sizes: Sizes = ADE) -> Shapes:
    """EncoderDecoder of mmsegmentation 0.11: UPerHead, and FCNHead on the third feature map."""
    (depths, dims), width, scales = ARCHS[arch], sizes.channels, (1, 2, 3, 6)
    head = affine("conv_seg", sizes.classes, width, 1, 1)
    for i in range(len(scales)):  # each: the pooling, then its convolution
        head |= conv_norm(f"psp_modules.{i}.1", width, dims[3], 1, 1)
    head |= conv_norm("bottleneck", width, dims[3] + len(scales) * width, 3, 3)
    for i in (0, 1, 2):
        head |= conv_norm(f"lateral_convs.{i}", width, dims[i], 1, 1)
        head |= conv_norm(f"fpn_convs.{i}", width, width, 3, 3)
    head |= conv_norm("fpn_bottleneck", width, 4 * width, 3, 3)
    auxiliary = conv_norm("convs.0", sizes.auxiliary, dims[2], 3, 3)
    auxiliary |= affine("conv_seg", sizes.classes, sizes.auxiliary, 1, 1)
    shapes = convnext(depths, dims)
    shapes |= {f"decode_head.{name}": shape for name, shape in head.items()}
    return shapes | {f"auxiliary_head.{name}": shape for name, shape in auxiliary.items()}


@dataclass(frozen=True)
class Official:
    """One file of the release: its shapes, our config for it, the parameters its README states."""

    shapes: Shapes
    config: str
    params_m: int


MODELS = {
    "coco/mask_rcnn_convnext_tiny_1k_3x": Official(
        mask_rcnn("tiny"), "detection/mask_rcnn_convnext_t_3x", 48
    ),
    **{
        f"coco/cascade_mask_rcnn_convnext_{arch}_{data}_3x": Official(
            cascade(arch), f"detection/cascade_convnext_{short}_3x", params
        )
        for arch, data, short, params in (
            ("tiny", "1k", "t", 86),
            ("small", "1k", "s", 108),
            ("base", "1k", "b", 146),
            ("base", "22k", "b_in22k", 146),
            ("large", "22k", "l_in22k", 255),
            ("xlarge", "22k", "xl_in22k", 407),
        )
    },
    **{
        f"ade20k/upernet_convnext_{arch}_{data}": Official(
            upernet(arch), f"segmentation/upernet_convnext_{short}_160k", params
        )
        for arch, data, short, params in (
            ("tiny", "1k_512x512", "t_512", 60),
            ("small", "1k_512x512", "s_512", 82),
            ("base", "1k_512x512", "b_512", 122),
            ("base", "22k_640x640", "b_in22k_640", 122),
            ("large", "22k_640x640", "l_in22k_640", 235),
            ("xlarge", "22k_640x640", "xl_in22k_640", 391),
        )
    },
}


def spread(shapes: Shapes) -> OrderedDict[str, Tensor]:
    """Tensors of one value each, different for every name; a file of them is small."""
    return OrderedDict(
        (name, torch.tensor(1 + i / 1000).expand(shape) if shape else torch.tensor(i))
        for i, (name, shape) in enumerate(shapes.items())
    )


def random_values(shapes: Shapes, seed: int = 0) -> OrderedDict[str, Tensor]:
    """Values with which a model runs: activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    state: OrderedDict[str, Tensor] = OrderedDict()
    for name, shape in shapes.items():
        if not shape:
            state[name] = torch.tensor(1000)
        elif name.endswith(("running_var", "gamma")) or (
            len(shape) == 1 and name.endswith("weight")
        ):
            state[name] = torch.rand(shape, generator=generator) + 0.5
        elif len(shape) == 1:
            state[name] = 0.1 * torch.randn(shape, generator=generator)
        else:
            fan_in = torch.Size(shape[1:]).numel()
            state[name] = _gain(name) * torch.randn(shape, generator=generator) / fan_in**0.5
    return state


def _gain(name: str) -> float:
    """Clear scores and masks, but no objectness that a sigmoid rounds to 1, which makes ties."""
    if "rpn_cls" in name:
        return 0.1
    return 4.0 if "fc_cls" in name or "conv_logits" in name else 1.0


def old_checkpoint(
    state: OrderedDict[str, Tensor], classes: tuple[str, ...] | None, toolbox: str = "mmdet"
) -> dict:
    """A checkpoint as mmcv 1.3's runner with apex wrote it (``mmcv_custom`` of the release)."""
    meta = dict(
        env_info="sys.platform: linux\nPython: 3.8.10\nPyTorch: 1.8.0\nMMCV: 1.3.0",
        config="model = dict(\n    type='CascadeRCNN')\nwork_dir = './work_dirs/x'\n",
        seed=0,
        exp_name="cascade_mask_rcnn_convnext_tiny_patch4_window7.py",
        epoch=36,
        iter=263844,
        mmcv_version="1.3.0",
        time="Mon Nov 15 08:03:21 2021",
        hook_msgs={},
    )
    meta[f"{toolbox}_version"] = "2.11.0+461e003" if toolbox == "mmdet" else "0.11.0+"
    if classes:
        meta["CLASSES"] = classes
    if toolbox == "mmseg":
        meta["PALETTE"] = [[120, 120, 120]] * len(classes or ())
    group = dict(
        weight_decay=0.05,
        param_names=["backbone.norm0.weight"],
        lr_scale=0.7,
        group_name="layer_12_no_decay",
        lr=1e-6,
        betas=(0.9, 0.999),
        eps=1e-8,
        amsgrad=False,
        initial_lr=1e-4,
        params=[0],
    )
    moments = dict(step=263844, exp_avg=torch.zeros(96), exp_avg_sq=torch.ones(96))
    state = OrderedDict(state)
    state._metadata = OrderedDict({"": dict(version=1), "backbone": dict(version=1)})
    return dict(
        meta=meta,
        state_dict=state,
        optimizer=dict(state={0: moments}, param_groups=[group]),
        amp=OrderedDict(loss_scaler0=dict(loss_scale=65536.0, unskipped=1200)),
    )


def save_old(path: Path, content: dict, *, zipped: bool = True) -> Path:
    """``torch.save`` as before and after torch 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path
