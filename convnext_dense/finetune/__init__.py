"""Fine-tuning: what of a model is trained, on which images, and when a run ends."""
