"""Image classification data: images with one class each."""
