"""Small images, enlarged: the stem and four stages of stride 32 leave 2 x 2 of 64 x 64.

Enlarging keeps the model the detectors': its weights can be handed over, and timm's is the same.
"""

size = 64
# Read in the training process: on two cores a worker process costs more than it brings.
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type="ImageSampler", shuffle=True, step_size=1),
    collate_fn=dict(type="collate_images"),
    dataset=dict(
        type="LabelledImages",
        data_root="",
        reader="folder",
        transform=dict(
            type="TrainTransform",
            size=size,
            scale=(0.35, 1.0),
            auto_augment="rand-m5-n2-mstd0.5-inc1",
        ),
    ),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="ImageSampler", shuffle=False),
    collate_fn=dict(type="collate_images"),
    dataset=dict(
        type="LabelledImages",
        data_root="",
        reader="folder",
        # Not the centre: these images show their object up to the edge.
        transform=dict(type="TestTransform", size=size, crop=1.0),
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
