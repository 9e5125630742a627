"""Pretraining without labels: a masked autoencoder, and distillation from a frozen teacher.

Importing this package registers the modules that the configs of ``configs/self_supervised`` name.
"""

from convnext_dense.data.decoding.unreadable import SkipUnreadableHook
from convnext_dense.self_supervised.distillation import Distillation
from convnext_dense.self_supervised.fcmae import MaskedAutoencoder
from convnext_dense.self_supervised.images import UnlabelledImages
from convnext_dense.self_supervised.preprocessing import ViewsPreprocessor
from convnext_dense.self_supervised.views import MultiCropViews, SingleView

__all__ = [
    "Distillation",
    "MaskedAutoencoder",
    "MultiCropViews",
    "SingleView",
    "SkipUnreadableHook",
    "UnlabelledImages",
    "ViewsPreprocessor",
]
