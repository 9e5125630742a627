"""The same in crops of 640 x 640, for the models pretrained on ImageNet-22K."""

_base_ = ["upernet_ade20k_512.py"]

crop_size = (640, 640)
scale = (2560, 640)
model = dict(
    data_preprocessor=dict(size=crop_size),
    test_cfg=dict(crop_size=crop_size, stride=(426, 426)),
)
sizes = dict(
    RandomResize=dict(scale=scale), RandomCrop=dict(crop_size=crop_size), Resize=dict(scale=scale)
)
train_pipeline = [dict(step, **sizes.get(step["type"], {})) for step in _base_.train_pipeline]
test_pipeline = [dict(step, **sizes.get(step["type"], {})) for step in _base_.test_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
