"""ImageNet-22K in the class folders `imagenet22k/<wnid>/`: 21,841 classes.

It has no validation set; that of ImageNet-1K, whose classes but one are among them, shows the
progress. The paper's figures are those after fine-tuning.
"""

_base_ = ["imagenet_1k.py"]

train_dataloader = dict(
    dataset=dict(data_root="imagenet22k", metainfo=dict(classes="imagenet-22k"))
)
val_dataloader = dict(dataset=dict(metainfo=dict(classes="imagenet-22k"), only_known=True))
test_dataloader = val_dataloader
