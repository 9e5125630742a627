"""Weights: safe reading, other libraries' names, reports on every parameter, official files."""

from convnext_dense.weights.converting import Conversion, convert, convert_file
from convnext_dense.weights.load_report import LoadReport
from convnext_dense.weights.loading import load_pretrained
from convnext_dense.weights.reading import (
    is_elsewhere,
    local_file,
    read_checkpoint,
    register_safe_loader,
)
from convnext_dense.weights.zoo import ZOO

__all__ = [
    "ZOO",
    "Conversion",
    "LoadReport",
    "convert",
    "convert_file",
    "is_elsewhere",
    "load_pretrained",
    "local_file",
    "read_checkpoint",
    "register_safe_loader",
]
