"""Predicting with exported models: numpy, OpenCV and a runtime, without torch."""
