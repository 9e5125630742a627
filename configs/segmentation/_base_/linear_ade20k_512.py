"""A linear head on ADE20K in crops of 512 x 512: what a backbone's maps tell by themselves.

Head and test are DINOv3's (arXiv 2508.10104, linear segmentation of its release): batch norm,
dropout of channels, a linear layer; windows of 512 every 341 pixels.
"""

_base_ = ["upernet_ade20k_512.py"]

model = dict(
    decode_head=dict(
        _delete_=True,
        type="LinearHead",
        in_channels=[768],
        in_index=[0],
        dropout_ratio=0.1,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=None,
)
