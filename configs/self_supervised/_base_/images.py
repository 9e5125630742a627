"""Images without labels in a folder, at any depth: `--images DIR`; else `images/` of the data root.

The size of the views is `--image-size`.
"""

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="collate_views"),
    dataset=dict(
        type="UnlabelledImages", data_root="images", transform=dict(type="SingleView", size=224)
    ),
)
