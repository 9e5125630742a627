"""What every classification run shares: detection's, with both weights evaluated."""

_base_ = ["../../detection/_base_/runtime.py"]

default_scope = "mmengine"
custom_imports = dict(imports=["convnext_dense.classification"])
env_cfg = dict(cudnn_benchmark=True)
visualizer = dict(type="Visualizer")
# mmengine logs means over a window of all that is called loss: not an evaluation's result.
log_processor = dict(mean_pattern=r"^(?!cls/).*(loss|time|grad_norm)")
default_hooks = dict(
    checkpoint=dict(save_best="cls/top1", rule="greater"),
    visualization=dict(type="DrawClassesHook"),
)
custom_hooks = [*_base_.custom_hooks, dict(type="SkipUnreadableHook", limit=100)]
# With a WeightAverageHook among them, both weights are evaluated.
val_cfg = dict(type="BothWeightsValLoop")
test_cfg = dict(type="BothWeightsTestLoop")
val_evaluator = dict(type="ClassificationMetric")
test_evaluator = val_evaluator
