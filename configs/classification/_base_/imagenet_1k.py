"""ImageNet-1K under `imagenet/` of the data root, at 224 pixels; its 1000 classes by name.

Shards instead of folders: `train_dataloader.dataset.reader=shards` and a `data_root` with the tars.
"""

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type="ImageSampler", shuffle=True, step_size=1),
    collate_fn=dict(type="collate_images"),
    dataset=dict(
        type="LabelledImages",
        data_root="imagenet/train",
        reader="folder",
        metainfo=dict(classes="imagenet-1k"),
        transform=dict(type="TrainTransform", size=224),
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="ImageSampler", shuffle=False),
    collate_fn=dict(type="collate_images"),
    dataset=dict(
        type="LabelledImages",
        data_root="imagenet/val",
        reader="folder",
        metainfo=dict(classes="imagenet-1k"),
        transform=dict(type="TestTransform", size=224),
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
