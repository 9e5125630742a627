"""FCMAE of ConvNeXt V2-T: a masked autoencoder on images without labels, 224 pixels, 800 epochs.

    convnext-dense pretrain --method fcmae --images DIR

Data: any images in a folder. Cost: the release's step has 4096 images, here 64 a process, and the
rate follows. Other sizes: --arch atto. V1 blocks: fcmae_convnext_t.
Paper: not in it; the method is that of ConvNeXt V2 (arXiv 2301.00808).
Ours: not measured yet (docs/results.md).
"""

_base_ = ["_base_/images.py", "_base_/schedule_800e.py"]

model = dict(
    type="MaskedAutoencoder",
    data_preprocessor=dict(type="ViewsPreprocessor"),
    backbone=dict(type="ConvNeXtTrunk", arch="tiny", use_grn=True, layer_scale_init_value=0.0),
)
