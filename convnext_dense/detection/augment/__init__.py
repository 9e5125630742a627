"""Augmentation of detection data: the choices of ``--augment``, and steps that mix images."""
