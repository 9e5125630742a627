"""Models on the Hugging Face Hub: a folder of weights, a plain config and a card."""

from convnext_dense.hub.publish import make_folder, push
from convnext_dense.hub.snapshot import fetch

__all__ = ["fetch", "make_folder", "push"]
