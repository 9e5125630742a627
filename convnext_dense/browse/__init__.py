"""Looking at training data: images as the model sees them, and what the data holds."""
