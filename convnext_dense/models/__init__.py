"""Backbones and classifiers: importing this package registers them in mmengine's root MODELS."""

from convnext_dense.models.backbone import ConvNeXt
from convnext_dense.models.block import Block
from convnext_dense.models.classifier import ConvNeXtClassifier
from convnext_dense.models.isotropic import ISOTROPIC_VARIANTS, IsotropicConvNeXt
from convnext_dense.models.roadmap.network import ConvNeXtRoadmap, ConvNeXtRoadmapClassifier
from convnext_dense.models.roadmap.steps import REGIMES
from convnext_dense.models.staged_network import StagedNetwork
from convnext_dense.models.trunk import VARIANTS, Trunk

__all__ = [
    "ISOTROPIC_VARIANTS",
    "REGIMES",
    "VARIANTS",
    "Block",
    "ConvNeXt",
    "ConvNeXtClassifier",
    "ConvNeXtRoadmap",
    "ConvNeXtRoadmapClassifier",
    "IsotropicConvNeXt",
    "StagedNetwork",
    "Trunk",
]
