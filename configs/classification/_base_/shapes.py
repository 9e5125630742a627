"""The embedded shapes: pictures of 64 x 64 pixels under `shapes/cls/`, drawn on first use."""

_base_ = ["small_pictures.py"]

train_dataloader = dict(dataset=dict(data_root="shapes/cls/train"))
val_dataloader = dict(dataset=dict(data_root="shapes/cls/val"))
test_dataloader = val_dataloader
