"""The embedded shapes: images of 64 x 64 pixels under `shapes/cls/`, drawn on first use."""

_base_ = ["small_pictures.py"]

train_dataloader = dict(
    dataset=dict(
        data_root="shapes/cls/train",
        # A policy that shears and rotates hides what there is to learn.
        transform=dict(scale=(0.6, 1.0), auto_augment=None),
    )
)
val_dataloader = dict(dataset=dict(data_root="shapes/cls/val"))
test_dataloader = val_dataloader
