"""ImageNet-1K at 384 pixels: the test resizes the whole image to the square."""

_base_ = ["imagenet_1k.py"]

train_dataloader = dict(batch_size=32, dataset=dict(transform=dict(size=384)))
val_dataloader = dict(batch_size=64, dataset=dict(transform=dict(size=384)))
test_dataloader = val_dataloader
