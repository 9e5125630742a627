"""RTMDet, ConvNeXt-T, ImageNet-1K weights, COCO, 100 epochs, large-scale jitter at 640 pixels.

    python tools/train.py configs/detection/heads/rtmdet_convnext_t_100e.py

Data: COCO 2017 under coco/ of the data root. Cost: made for 4 GPUs with 32 images each.
Paper: arXiv 2212.07784. Settings: mmdet's rtmdet_l_convnext_b_4xb32-100e_coco, without its average
of the weights and its mixup (`_base_/coco_jitter.py`); drop path of our ConvNeXt-T detectors.
Ours: not trained yet.
"""

_base_ = [
    "../_base_/rtmdet.py",
    "../_base_/coco_jitter.py",
    "../_base_/schedule_100e.py",
    "../_base_/runtime.py",
]
model = dict(
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="convnext_tiny_1k_224")),
)
custom_hooks = [*_base_.custom_hooks, dict(type="MixingEndHook", share=0.1)]
