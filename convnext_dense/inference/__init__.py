"""A trained model as one object: any source in, plain results out (``model.load``)."""
