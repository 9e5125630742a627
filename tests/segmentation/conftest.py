"""Importing the package first: mmsegmentation needs mmcv's operators in place."""

import convnext_dense  # noqa: F401
