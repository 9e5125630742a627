"""Backbones: importing this package registers them in mmengine's root MODELS."""

from convnext_dense.models.convnext import VARIANTS, Block, ConvNeXt

__all__ = ["VARIANTS", "Block", "ConvNeXt"]
