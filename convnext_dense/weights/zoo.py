"""The files of the official release: name -> address, and sha256 where one is published.

Names are the file names without their ending; those of detectors and segmentors start with their
folder on the server. Addresses: the README files of facebookresearch/ConvNeXt. The release
publishes no hashes, so the entries have none: the first download is trusted and its hash stored
(see ``download.py``). Add a hash here as soon as one is published.
"""

from dataclasses import dataclass

SERVER = "https://dl.fbaipublicfiles.com/convnext"


@dataclass(frozen=True)
class ZooFile:
    """One file of the release.

    Attributes:
        url: Its address.
        sha256: Its published hash in hexadecimal; None where none is published.
    """

    url: str
    sha256: str | None = None


# Detection and segmentation start from the first two groups (final weights, as in the paper).
_NAMES = """
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
ZOO: dict[str, ZooFile] = {name: ZooFile(f"{SERVER}/{name}.pth") for name in _NAMES.split()}


def published_sha256(url: str) -> str | None:
    """The published hash of an official file's address; None where none is known."""
    return next((file.sha256 for file in ZOO.values() if file.url == url), None)


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
