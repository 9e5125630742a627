"""Image classification on the same engine: pretraining, fine-tuning, evaluation.

Importing this package registers what the classification configs name.
"""

from convnext_dense.classification.classifier import ImageClassifier, TimmModel
from convnext_dense.classification.metric import ClassificationMetric
from convnext_dense.classification.pictures import LabelledPictures, PictureSampler
from convnext_dense.classification.preprocessing import ClassificationPreprocessor
from convnext_dense.classification.show import ClassPicturesHook
from convnext_dense.classification.skipping import SkippedPicturesHook
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
