"""Looking at training data: pictures as the model sees them, and what the data holds."""
