"""What every detection run shares: logs, checkpoints, images, the environment."""

default_scope = "mmdet"
custom_imports = dict(
    imports=[
        "convnext_dense.detection.augment.steps",
        "convnext_dense.detection.coco_metric",
        "convnext_dense.detection.roi_extractor",
        "convnext_dense.detection.roi_heads",
        "convnext_dense.detection.row_heads",
        "convnext_dense.detection.dense.whole_masks",
        "convnext_dense.detection.tta",
        "convnext_dense.finetune.mixing_end",
    ],
    allow_failed_imports=False,
)
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0))
vis_backends = [dict(type="JsonVisBackend"), dict(type="TensorboardVisBackend")]
visualizer = dict(type="DetLocalVisualizer", vis_backends=vis_backends, name="visualizer")
log_processor = dict(type="PassLogProcessor", window_size=50, by_epoch=True)
log_level = "INFO"
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=True),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="WholeCheckpointHook", interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="DetVisualizationHook"),
)
custom_hooks = [
    dict(type="LearningRateHook"),
    dict(type="MetricsFileHook"),
    dict(type="ProgressHook"),
    dict(type="RandomStateHook"),
    dict(type="PartialStepHook"),
    dict(type="MeanLossHook"),
    dict(type="FiniteChecksHook", limit=10),
    dict(type="InterruptHook"),
]
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
load_from = None
resume = False
