"""What every pretraining without labels shares: the classifiers' runtime, and no evaluation."""

_base_ = ["../../detection/_base_/runtime.py"]

default_scope = "mmengine"
task = "self_supervised"
custom_imports = dict(imports=["convnext_dense.self_supervised"])
env_cfg = dict(cudnn_benchmark=True)
visualizer = dict(type="Visualizer")
default_hooks = dict(  # without drawings: there is no evaluation
    _delete_=True,
    **{name: hook for name, hook in _base_.default_hooks.items() if name != "visualization"},
)
custom_hooks = [*_base_.custom_hooks, dict(type="SkipUnreadableHook", limit=100)]
val_cfg = None
test_cfg = None
