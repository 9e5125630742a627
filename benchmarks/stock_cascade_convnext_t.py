"""The T detector of the recipe from stock parts: mmdet's own, and mmpretrain's ConvNeXt."""

_base_ = ["../configs/detection/cascade_convnext_t_3x.py"]
custom_imports = dict(
    imports=[*_base_.custom_imports.imports, "mmpretrain.models"], allow_failed_imports=False
)
stages = [*_base_.model.roi_head.bbox_head]
model = dict(
    backbone=dict(
        _delete_=True,
        type="mmpretrain.ConvNeXt",
        arch="tiny",
        out_indices=[0, 1, 2, 3],
        drop_path_rate=0.4,
        layer_scale_init_value=1.0,
        gap_before_final_norm=False,
    ),
    roi_head=dict(
        type="CascadeRoIHead",
        bbox_roi_extractor=dict(type="SingleRoIExtractor"),
        mask_roi_extractor=dict(type="SingleRoIExtractor"),
    ),
)
