"""Speed and memory of models, compared with other libraries', of data loading and evaluation."""
