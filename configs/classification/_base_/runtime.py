"""What every classification run shares: logs, checkpoints, both weights evaluated."""

default_scope = "mmengine"
custom_imports = dict(imports=["convnext_dense.classification"], allow_failed_imports=False)
env_cfg = dict(cudnn_benchmark=True, mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0))
vis_backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
visualizer = dict(type="Visualizer", vis_backends=vis_backends, name="visualizer")
log_processor = dict(type="LogProcessor", window_size=50, by_epoch=True)
log_level = "INFO"
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=True),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="CheckpointHook", interval=1, max_keep_ckpts=3, save_best="cls/top1", rule="greater"
    ),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="ClassPicturesHook"),
)
custom_hooks = [
    dict(type="LearningRateHook"),
    dict(type="MetricsFileHook"),
    dict(type="ProgressHook"),
    dict(type="RandomStateHook"),
    dict(type="SkippedPicturesHook", limit=100),
    dict(type="MeanLossHook"),
]
# With a WeightAverageHook among them, both weights are evaluated.
val_cfg = dict(type="BothWeightsValLoop")
test_cfg = dict(type="BothWeightsTestLoop")
val_evaluator = dict(type="ClassificationMetric")
test_evaluator = val_evaluator
load_from = None
resume = False
