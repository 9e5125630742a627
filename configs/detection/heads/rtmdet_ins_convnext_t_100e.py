"""RTMDet-Ins, ConvNeXt-T, ImageNet-1K weights, COCO, 100 epochs, jitter at 640 pixels.

    python tools/train.py configs/detection/heads/rtmdet_ins_convnext_t_100e.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 4 GPUs with 32 images each.
Paper: arXiv 2212.07784. Settings: the head of mmdet's rtmdet-ins_l_8xb32-300e_coco, all else as
rtmdet_convnext_t_100e. Ours: not trained yet.
"""

_base_ = [
    "../_base_/rtmdet_ins.py",
    "../_base_/coco_jitter.py",
    "../_base_/schedule_100e.py",
    "../_base_/runtime.py",
]
model = dict(
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="convnext_tiny_1k_224")),
)
custom_hooks = [*_base_.custom_hooks, dict(type="MixingEndHook", share=0.1)]
tta_views = dict(merge=dict(score_thr=0.05, max_per_img=100))
