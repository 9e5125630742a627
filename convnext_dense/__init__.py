"""Dense prediction with ConvNeXt: importing this package registers everything it provides.

The import has three side effects: mmcv's operators become available through torchvision where
mmcv was installed without its compiled extension; mmengine reads checkpoints through this project's
safe loader, and in a run YAML as plain data and other pickles not at all; and mmengine's
CheckpointHook and LocalVisBackend are this project's, under the same names.
"""

from convnext_dense import ops, weights
from convnext_dense.version import __version__

ops.install()
weights.register_safe_loader()

from convnext_dense import engine, models, optim  # noqa: E402  (after the operators are in place)

__all__ = ["__version__", "engine", "models", "ops", "optim", "weights"]
