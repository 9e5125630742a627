"""Backbones and classifiers: importing this package registers them in mmengine's root MODELS."""

from convnext_dense.models.classifier import ConvNeXtClassifier
from convnext_dense.models.convnext import VARIANTS, Block, ConvNeXt, Trunk
from convnext_dense.models.isotropic import ISOTROPIC_VARIANTS, IsotropicConvNeXt

__all__ = [
    "ISOTROPIC_VARIANTS",
    "VARIANTS",
    "Block",
    "ConvNeXt",
    "ConvNeXtClassifier",
    "IsotropicConvNeXt",
    "Trunk",
]
