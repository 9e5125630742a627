"""Linear layer on the last map, ConvNeXt-B, DINOv3 weights, fine-tuned, ADE20K, 160k iterations.

    python tools/train.py configs/segmentation/linear_convnext_b_dinov3_512_160k.py

Data: ADE20K under ade/ADEChallengeData2016/ of the data root. Cost: made for 8 GPUs with 2
images each.
Weights: docs/weights.md (DINOv3 License; the first download needs a token of the Hub).
Paper: not in it; the settings are those of UperNet on this backbone.
Ours: not trained to the end yet (docs/results.md).
"""

_base_ = [
    "_base_/linear_ade20k_512.py",
    "_base_/schedule_160k.py",
    "_base_/runtime.py",
]
model = dict(
    backbone=dict(
        arch="base",
        out_indices=(3,),
        drop_path_rate=0.4,
        init_cfg=dict(
            type="Pretrained", checkpoint="dinov3_convnext_base", final_norm_to_norm3=True
        ),
    ),
    decode_head=dict(in_channels=[1024]),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
