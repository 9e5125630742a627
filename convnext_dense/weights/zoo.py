"""The files that have a name: address, licence, normalisation of the images, published hash.

Four families, of Meta and of timm. Names are those of their authors: of Meta's files the file name
without its ending, of the detectors and segmentors with their folder on the server; of DINOv3 the
name of its model; of files on the Hugging Face Hub that timm made, the name of their repository.

Nobody publishes full hashes, so the entries have none: the first download is trusted and its hash
stored (see ``download.py``). Add a hash here as soon as one is published.
"""

import re
from dataclasses import dataclass, replace

SERVER = "https://dl.fbaipublicfiles.com/convnext"
HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Normalisation:
    """What is subtracted from RGB values of 0 to 255, and what they are divided by.

    Attributes:
        name: Where the numbers come from.
        mean: Of R, G and B.
        std: The same.
    """

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation("ImageNet", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CLIP = Normalisation(
    "CLIP",
    (122.7709383, 116.7460125, 104.09373615),
    (68.5005327, 66.6321579, 70.32316305),
)


# In every address: the blocks, and the size of the network.
_ARCHITECTURE = re.compile(r"convnext(v2)?[_-](iso_)?([a-z]+)")


@dataclass(frozen=True)
class ZooFile:
    """One file.

    Attributes:
        url: Its address.
        licence: The licence of the weights, as their authors state it.
        sha256: Its published hash in hexadecimal; None where none is published.
        normalisation: How the images were normalised that the weights were trained on.
        gated: Whether it is given out to those alone who accepted its licence.
    """

    url: str
    licence: str
    sha256: str | None = None
    normalisation: Normalisation = IMAGENET
    gated: bool = False

    @property
    def size(self) -> str:
        """The name of the variant: ``tiny``."""
        return _ARCHITECTURE.search(self.url)[3]

    @property
    def blocks(self) -> str:
        """``V1``, ``V2``, or ``isotropic`` for a network without stages."""
        v2, isotropic, _ = _ARCHITECTURE.search(self.url).groups()
        return "V2" if v2 else "isotropic" if isotropic else "V1"


# facebookresearch/ConvNeXt, README files. Detection and segmentation start from the first two
# groups (final weights, as in the paper).
_V1 = """
    convnext_tiny_1k_224 convnext_small_1k_224 convnext_base_1k_224 convnext_large_1k_224
    convnext_tiny_22k_224 convnext_small_22k_224 convnext_base_22k_224 convnext_large_22k_224
    convnext_xlarge_22k_224
    convnext_tiny_1k_224_ema convnext_small_1k_224_ema convnext_base_1k_224_ema
    convnext_large_1k_224_ema convnext_base_1k_384 convnext_large_1k_384
    convnext_tiny_22k_1k_224 convnext_small_22k_1k_224 convnext_base_22k_1k_224
    convnext_large_22k_1k_224 convnext_xlarge_22k_1k_224_ema
    convnext_tiny_22k_1k_384 convnext_small_22k_1k_384 convnext_base_22k_1k_384
    convnext_large_22k_1k_384 convnext_xlarge_22k_1k_384_ema
    convnext_iso_small_1k_224_ema convnext_iso_base_1k_224_ema convnext_iso_large_1k_224_ema
    coco/mask_rcnn_convnext_tiny_1k_3x
    coco/cascade_mask_rcnn_convnext_tiny_1k_3x coco/cascade_mask_rcnn_convnext_small_1k_3x
    coco/cascade_mask_rcnn_convnext_base_1k_3x coco/cascade_mask_rcnn_convnext_base_22k_3x
    coco/cascade_mask_rcnn_convnext_large_22k_3x coco/cascade_mask_rcnn_convnext_xlarge_22k_3x
    ade20k/upernet_convnext_tiny_1k_512x512 ade20k/upernet_convnext_small_1k_512x512
    ade20k/upernet_convnext_base_1k_512x512 ade20k/upernet_convnext_base_22k_640x640
    ade20k/upernet_convnext_large_22k_640x640 ade20k/upernet_convnext_xlarge_22k_640x640
"""
# facebookresearch/ConvNeXt-V2, README. Folder on the server -> files: pretrained by FCMAE alone,
# then fine-tuned on ImageNet-1K, or on ImageNet-22K and after that on 1K.
_V2 = {
    "pt_only": """
        convnextv2_atto_1k_224_fcmae convnextv2_femto_1k_224_fcmae convnextv2_pico_1k_224_fcmae
        convnextv2_nano_1k_224_fcmae convnextv2_tiny_1k_224_fcmae convnextv2_base_1k_224_fcmae
        convnextv2_large_1k_224_fcmae convnextv2_huge_1k_224_fcmae
    """,
    "im1k": """
        convnextv2_atto_1k_224_ema convnextv2_femto_1k_224_ema convnextv2_pico_1k_224_ema
        convnextv2_nano_1k_224_ema convnextv2_tiny_1k_224_ema convnextv2_base_1k_224_ema
        convnextv2_large_1k_224_ema convnextv2_huge_1k_224_ema
    """,
    "im22k": """
        convnextv2_nano_22k_224_ema convnextv2_nano_22k_384_ema convnextv2_tiny_22k_224_ema
        convnextv2_tiny_22k_384_ema convnextv2_base_22k_224_ema convnextv2_base_22k_384_ema
        convnextv2_large_22k_224_ema convnextv2_large_22k_384_ema convnextv2_huge_22k_384_ema
        convnextv2_huge_22k_512_ema
    """,
}
# facebook/dinov3-convnext-*-pretrain-lvd1689m on the Hub: given out after a form was sent.
_DINOV3 = ("tiny", "small", "base", "large")
# timm's copies of DINOv3's need no form; the licence is the same.
_TIMM_DINOV3 = " ".join(f"timm/convnext_{size}.dinov3_lvd1689m" for size in _DINOV3)
# Image towers of LAION's CLIP models, and classifiers fine-tuned from them (timm's default_cfgs).
# timm's convnext_xxlarge is not here: its norms add 1e-5 to the variance, and ours 1e-6.
_TIMM_CLIP = """
    timm/convnext_base.clip_laion2b timm/convnext_base.clip_laion2b_augreg
    timm/convnext_base.clip_laiona timm/convnext_base.clip_laiona_320
    timm/convnext_base.clip_laiona_augreg_320 timm/convnext_base.clip_laion2b_augreg_ft_in1k
    timm/convnext_base.clip_laion2b_augreg_ft_in12k
    timm/convnext_base.clip_laion2b_augreg_ft_in12k_in1k
    timm/convnext_base.clip_laion2b_augreg_ft_in12k_in1k_384
    timm/convnext_base.clip_laiona_augreg_ft_in1k_384
    timm/convnext_large_mlp.clip_laion2b_augreg timm/convnext_large_mlp.clip_laion2b_ft_320
    timm/convnext_large_mlp.clip_laion2b_ft_soup_320
    timm/convnext_large_mlp.clip_laion2b_augreg_ft_in1k
    timm/convnext_large_mlp.clip_laion2b_augreg_ft_in1k_384
    timm/convnext_large_mlp.clip_laion2b_augreg_ft_in12k_384
    timm/convnext_large_mlp.clip_laion2b_soup_ft_in12k_320
    timm/convnext_large_mlp.clip_laion2b_soup_ft_in12k_384
    timm/convnext_large_mlp.clip_laion2b_soup_ft_in12k_in1k_320
    timm/convnext_large_mlp.clip_laion2b_soup_ft_in12k_in1k_384
"""


def _on_hub(repository: str, licence: str) -> ZooFile:
    return ZooFile(f"{HUB}/{repository}/resolve/main/model.safetensors", licence)


ZOO: dict[str, ZooFile] = {
    **{name: ZooFile(f"{SERVER}/{name}.pth", "MIT") for name in _V1.split()},
    **{
        name: ZooFile(f"{SERVER}/convnextv2/{folder}/{name}.pt", "CC-BY-NC-4.0")
        for folder, names in _V2.items()
        for name in names.split()
    },
    **{
        f"dinov3_convnext_{size}": replace(
            _on_hub(f"facebook/dinov3-convnext-{size}-pretrain-lvd1689m", "DINOv3 License"),
            gated=True,
        )
        for size in _DINOV3
    },
    **{name: _on_hub(name, "DINOv3 License") for name in _TIMM_DINOV3.split()},
    **{
        name: replace(_on_hub(name, "Apache-2.0"), normalisation=CLIP)
        for name in _TIMM_CLIP.split()
    },
}


def find_file(source: str) -> ZooFile | None:
    """The entry of a name or address; None for any other source."""
    return ZOO.get(source) or next((file for file in ZOO.values() if file.url == source), None)


# Config that a file was made by -> the file; those of the release's tables 1 to 7.
OFFICIAL_FILES: dict[str, str] = {
    "mask_rcnn_convnext_t_3x": "coco/mask_rcnn_convnext_tiny_1k_3x",
    "cascade_convnext_t_3x": "coco/cascade_mask_rcnn_convnext_tiny_1k_3x",
    "cascade_convnext_s_3x": "coco/cascade_mask_rcnn_convnext_small_1k_3x",
    "cascade_convnext_b_3x": "coco/cascade_mask_rcnn_convnext_base_1k_3x",
    "cascade_convnext_b_in22k_3x": "coco/cascade_mask_rcnn_convnext_base_22k_3x",
    "cascade_convnext_l_in22k_3x": "coco/cascade_mask_rcnn_convnext_large_22k_3x",
    "cascade_convnext_xl_in22k_3x": "coco/cascade_mask_rcnn_convnext_xlarge_22k_3x",
    "upernet_convnext_t_512_160k": "ade20k/upernet_convnext_tiny_1k_512x512",
    "upernet_convnext_s_512_160k": "ade20k/upernet_convnext_small_1k_512x512",
    "upernet_convnext_b_512_160k": "ade20k/upernet_convnext_base_1k_512x512",
    "upernet_convnext_b_in22k_640_160k": "ade20k/upernet_convnext_base_22k_640x640",
    "upernet_convnext_l_in22k_640_160k": "ade20k/upernet_convnext_large_22k_640x640",
    "upernet_convnext_xl_in22k_640_160k": "ade20k/upernet_convnext_xlarge_22k_640x640",
    "convnext_t_in1k_300e": "convnext_tiny_1k_224_ema",
    "convnext_s_in1k_300e": "convnext_small_1k_224_ema",
    "convnext_b_in1k_300e": "convnext_base_1k_224_ema",
    "convnext_l_in1k_300e": "convnext_large_1k_224_ema",
    "convnext_b_in1k_ft384_30e": "convnext_base_1k_384",
    "convnext_l_in1k_ft384_30e": "convnext_large_1k_384",
    "convnext_b_in22k_90e": "convnext_base_22k_224",
    "convnext_l_in22k_90e": "convnext_large_22k_224",
    "convnext_xl_in22k_90e": "convnext_xlarge_22k_224",
    "convnext_b_in22k_ft1k_224_30e": "convnext_base_22k_1k_224",
    "convnext_l_in22k_ft1k_224_30e": "convnext_large_22k_1k_224",
    "convnext_xl_in22k_ft1k_224_30e": "convnext_xlarge_22k_1k_224_ema",
    "convnext_b_in22k_ft1k_384_30e": "convnext_base_22k_1k_384",
    "convnext_l_in22k_ft1k_384_30e": "convnext_large_22k_1k_384",
    "convnext_xl_in22k_ft1k_384_30e": "convnext_xlarge_22k_1k_384_ema",
    "convnext_iso_s_in1k_300e": "convnext_iso_small_1k_224_ema",
    "convnext_iso_b_in1k_300e": "convnext_iso_base_1k_224_ema",
    "convnext_iso_l_in1k_300e": "convnext_iso_large_1k_224_ema",
}
