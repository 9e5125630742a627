"""Linear layer on all four maps, frozen ConvNeXt-T, DINOv3 weights, ADE20K, 40k iterations.

    python tools/train.py configs/segmentation/linear4_convnext_t_dinov3_frozen_512_40k.py

Data: ADE20K under ade/ADEChallengeData2016/ of the data root. Cost: made for 8 GPUs with 2
images each.
Weights: docs/weights.md (DINOv3 License; the first download needs a token of the Hub).
Paper: not in it; DINOv3's own figures are of the last map.
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "_base_/linear_ade20k_512.py",
    "_base_/schedule_40k.py",
    "_base_/runtime.py",
]
model = dict(
    backbone=dict(
        arch="tiny",
        drop_path_rate=0.0,
        frozen_stages="backbone",
        init_cfg=dict(
            type="Pretrained", checkpoint="dinov3_convnext_tiny", final_norm_to_norm3=True
        ),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768], in_index=[0, 1, 2, 3]),
)
