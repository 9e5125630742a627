"""Backbones and classifiers: importing this package registers them in mmengine's root MODELS."""

from convnext_dense.models.classifier import ConvNeXtClassifier
from convnext_dense.models.convnext import ConvNeXt
from convnext_dense.models.isotropic import ISOTROPIC_VARIANTS, IsotropicConvNeXt
from convnext_dense.models.trunk import VARIANTS, Block, Trunk

__all__ = [
    "ISOTROPIC_VARIANTS",
    "VARIANTS",
    "Block",
    "ConvNeXt",
    "ConvNeXtClassifier",
    "IsotropicConvNeXt",
    "Trunk",
]
