"""Image classification on the same engine: pretraining, fine-tuning, evaluation.

Importing this package registers the modules that the classification configs name.
"""

from convnext_dense.classification.classifier import ImageClassifier, TimmModel
from convnext_dense.classification.dataset import LabelledPictures, PictureSampler
from convnext_dense.classification.draw_results import ClassPicturesHook
from convnext_dense.classification.metric import ClassificationMetric
from convnext_dense.classification.preprocessing import ClassificationPreprocessor
from convnext_dense.classification.skip_unreadable import SkippedPicturesHook
from convnext_dense.classification.transforms import TestTransform, TrainTransform

__all__ = [
    "ClassPicturesHook",
    "ClassificationMetric",
    "ClassificationPreprocessor",
    "ImageClassifier",
    "LabelledPictures",
    "PictureSampler",
    "SkippedPicturesHook",
    "TestTransform",
    "TimmModel",
    "TrainTransform",
]
