"""Speed and memory: models beside other libraries' models, data loading, the evaluation."""
