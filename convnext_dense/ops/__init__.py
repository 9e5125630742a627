"""mmcv's compiled operators, replaced by torchvision's and torch's where mmcv has none.

`mmcv-lite` contains the Python part of `mmcv.ops` without the compiled module `mmcv._ext`. After
`install()`, `import mmcv._ext` executes `extension.py` of this folder, unless a compiled module
exists, which always takes precedence. Nothing is loaded before mmcv imports the module.
"""

from convnext_dense.ops.finder import install, provider

__all__ = ["install", "provider"]
