"""CIFAR-10 in class folders, `cifar10/{train,val}/<class>/` of the data root."""

_base_ = ["small_pictures.py"]

train_dataloader = dict(dataset=dict(data_root="cifar10/train"))
val_dataloader = dict(dataset=dict(data_root="cifar10/val"))
test_dataloader = val_dataloader
