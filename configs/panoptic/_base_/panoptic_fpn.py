"""Panoptic FPN: Mask R-CNN for things, a light decoder of the same pyramid for stuff.

`num_things_classes` and `num_stuff_classes` are set nowhere: the engine takes them from the
annotation file.
"""

_base_ = ["../../detection/_base_/mask_rcnn.py"]

model = dict(
    type="PanopticFPN",
    data_preprocessor=dict(mask_pad_value=0, pad_seg=True, seg_pad_value=255),
    semantic_head=dict(
        type="PanopticFPNHead",
        in_channels=256,
        inner_channels=128,
        start_level=0,
        end_level=4,
        norm_cfg=dict(type="GN", num_groups=32, requires_grad=True),
        conv_cfg=None,
        loss_seg=dict(type="CrossEntropyLoss", ignore_index=255, loss_weight=0.5),
    ),
    panoptic_fusion_head=dict(type="HeuristicFusionHead"),
    test_cfg=dict(
        rcnn=dict(
            score_thr=0.6,
            nms=dict(type="nms", iou_threshold=0.5, class_agnostic=True),
            max_per_img=100,
            mask_thr_binary=0.5,
        ),
        # Least share of an instance that no better one covers, and pixels of an area of stuff.
        panoptic=dict(mask_overlap=0.5, stuff_area_limit=4096),
    ),
)
