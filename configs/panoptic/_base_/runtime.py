"""What every panoptic run shares: that of the detectors, with the task's own parts."""

_base_ = ["../../detection/_base_/runtime.py"]

task = "panoptic"
custom_imports = dict(
    imports=[
        "convnext_dense.detection.roi_extractor",
        "convnext_dense.detection.roi_heads",
        "convnext_dense.detection.row_heads",
        "convnext_dense.panoptic.dataset",
        "convnext_dense.panoptic.draw_results",
        "convnext_dense.panoptic.metric",
    ],
)
default_hooks = dict(visualization=dict(_delete_=True, type="DrawSegmentsHook"))
