"""Image classification on the same engine: pretraining, fine-tuning, evaluation.

Importing this package registers the modules that the classification configs name.
"""

from convnext_dense.classification.classifier import ImageClassifier, TimmModel
from convnext_dense.classification.dataset import ImageSampler, LabelledImages
from convnext_dense.classification.draw_results import DrawClassesHook
from convnext_dense.classification.metric import ClassificationMetric
from convnext_dense.classification.preprocessing import ClassificationPreprocessor
from convnext_dense.classification.transforms import TestTransform, TrainTransform
from convnext_dense.data.decoding.unreadable import SkipUnreadableHook

__all__ = [
    "DrawClassesHook",
    "ClassificationMetric",
    "ClassificationPreprocessor",
    "ImageClassifier",
    "LabelledImages",
    "ImageSampler",
    "SkipUnreadableHook",
    "TestTransform",
    "TimmModel",
    "TrainTransform",
]
