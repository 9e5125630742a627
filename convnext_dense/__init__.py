"""Dense prediction with ConvNeXt: importing this package registers its models and optimizer parts.

Everything that the import changes outside of this package, with the reason:

- mmengine's root registries hold the models, the optimizer constructor and the schedules: configs
  name them, and mmdet's and mmsegmentation's registries fall back to the root.
- ``mmcv._ext`` can be imported, from torchvision's operators, where mmcv was installed without its
  compiled extension: mmdet's models import it by that name.

The engine (``convnext_dense.engine``) registers its runner, loops and hooks when it is imported.
"""

from convnext_dense import ops
from convnext_dense.version import __version__

ops.install()

from convnext_dense import models, optim  # noqa: E402  (after the operators are in place)

__all__ = ["__version__", "models", "ops", "optim"]
