"""mmcv's compiled operators, provided by torchvision where mmcv has none.

`mmcv-lite` holds the Python half of `mmcv.ops`; the compiled half, the module `mmcv._ext`, is not
in it. After `install()`, importing `mmcv._ext` executes `extension.py` of this folder, unless a
compiled one exists: that one always wins. Nothing is loaded before mmcv asks for the module.
"""

from convnext_dense.ops.finder import install, provider

__all__ = ["install", "provider"]
