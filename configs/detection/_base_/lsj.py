"""Large-scale jitter: images of 0.1 to 2 times 1024 pixels, cut to 1024 x 1024 (arXiv 2012.07177).

Steps of the training pipelines that have it. Smaller images are padded to the same size by the
model's preprocessor: a leaf adds `batch_augments=[_base_.lsj.pad]` there.
"""

image_size = (1024, 1024)
lsj = dict(
    resize=dict(type="RandomResize", scale=image_size, ratio_range=(0.1, 2.0), keep_ratio=True),
    crop=dict(
        type="RandomCrop", crop_size=image_size, recompute_bbox=True, allow_negative_crop=True
    ),
    pad=dict(type="BatchFixedSizePad", size=image_size, pad_mask=True),
)
