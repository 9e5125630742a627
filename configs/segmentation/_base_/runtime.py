"""What every segmentation run shares: detection's, counted in iterations instead of epochs."""

_base_ = ["../../detection/_base_/runtime.py"]

default_scope = "mmseg"
custom_imports = dict(
    imports=[
        "convnext_dense.segmentation.heads.linear_head",
        "convnext_dense.segmentation.listed_pairs",
        "convnext_dense.segmentation.load_labels",
        "convnext_dense.segmentation.losses",
        "convnext_dense.segmentation.mean_iou",
        "convnext_dense.segmentation.draw_results",
        "convnext_dense.segmentation.segmentor",
        "convnext_dense.segmentation.views",
    ],
)
visualizer = dict(type="SegLocalVisualizer")
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=16000),
    visualization=dict(type="DrawLabelsHook"),
)
