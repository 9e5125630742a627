"""What the server of tests/running.py imports once, before any tool is run."""

import os
import sys

# Read when torch is imported: the tests share the machine, and no tool finds a GPU.
os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
# New Pythons have neither: every tool must run without them.
sys.modules.update(pkg_resources=None, distutils=None)

import matplotlib.pyplot  # noqa: E402, F401

import convnext_dense.classification  # noqa: E402
import convnext_dense.cli.test  # noqa: E402
import convnext_dense.cli.train  # noqa: E402
import convnext_dense.detection  # noqa: E402
import convnext_dense.predictor  # noqa: E402
import convnext_dense.segmentation  # noqa: E402, F401
