auto_scale_lr = dict(base_batch_size=16, enable=False)
custom_hooks = [
    dict(type='LearningRateHook'),
    dict(type='MetricsFileHook'),
    dict(type='ProgressHook'),
    dict(type='RandomStateHook'),
    dict(type='PartialStepHook'),
    dict(type='MeanLossHook'),
    dict(limit=10, type='NumbersHook'),
    dict(type='InterruptHook'),
    dict(limit=100, type='SkippedPicturesHook'),
    dict(decay=0.995, type='WeightAverageHook'),
]
custom_imports = dict(
    allow_failed_imports=False, imports=[
        'convnext_dense.classification',
    ])
data_root = 'data'
default_hooks = dict(
    checkpoint=dict(
        by_epoch=False,
        interval=2,
        max_keep_ckpts=1,
        rule='greater',
        save_best='cls/top1',
        type='CheckpointHook'),
    logger=dict(interval=1, log_metric_by_epoch=True, type='LoggerHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    timer=dict(type='IterTimerHook'),
    visualization=dict(type='ClassPicturesHook'))
default_scope = 'mmengine'
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
launcher = 'none'
load_from = None
log_level = 'INFO'
log_processor = dict(
    by_epoch=True,
    mean_pattern='^(?!cls/).*(loss|time|grad_norm)',
    type='PassLogProcessor',
    window_size=50)
model = dict(
    backbone=dict(
        arch=dict(depths=[
            1,
            1,
            1,
            1,
        ], dims=[
            8,
            8,
            8,
            8,
        ]),
        drop_path_rate=0.0,
        layer_scale_init_value=1.0,
        num_classes=6,
        type='ConvNeXtClassifier'),
    data_preprocessor=dict(
        cutmix=0.0,
        erasing=0.0,
        label_smoothing=0.1,
        mixup=0.0,
        type='ClassificationPreprocessor'),
    type='ImageClassifier')
optim_wrapper = dict(
    clip_grad=dict(max_norm=5.0),
    constructor='LayerDecayOptimWrapperConstructor',
    optimizer=dict(
        betas=(
            0.9,
            0.999,
        ),
        fused=True,
        lr=0.0005,
        type='AdamW',
        weight_decay=0.05),
    paramwise_cfg=dict(decay_rate=1.0),
    type='OptimWrapper')
param_scheduler = dict(
    by_epoch=True,
    convert_to_iter_based=True,
    end=60,
    eta_min_ratio=0.01,
    type='WarmupCosineLR',
    warmup=3)
randomness = dict(deterministic=False, seed=0)
resume = False
size = 64
test_cfg = dict(type='BothWeightsTestLoop')
test_dataloader = dict(
    batch_size=100,
    collate_fn=dict(type='collate_pictures'),
    dataset=dict(
        data_root='data/shapes/cls/val',
        metainfo=dict(
            classes=(
                'circle',
                'cross',
                'ring',
                'square',
                'star',
                'triangle',
            )),
        reader='folder',
        test_mode=True,
        transform=dict(crop=1.0, size=64, type='TestTransform'),
        type='LabelledPictures'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='PictureSampler'))
test_evaluator = dict(type='ClassificationMetric')
train_cfg = dict(
    max_epochs=60, max_iters=2, type='ResumableEpochLoop', val_interval=5)
train_dataloader = dict(
    batch_size=16,
    collate_fn=dict(type='collate_pictures'),
    dataset=dict(
        data_root='data/shapes/cls/train',
        metainfo=dict(
            classes=(
                'circle',
                'cross',
                'ring',
                'square',
                'star',
                'triangle',
            )),
        reader='folder',
        transform=dict(
            auto_augment=None,
            scale=(
                0.6,
                1.0,
            ),
            size=64,
            type='TrainTransform'),
        type='LabelledPictures'),
    drop_last=True,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=True, step_size=1, type='PictureSampler'))
val_cfg = dict(type='BothWeightsValLoop')
val_dataloader = dict(
    batch_size=100,
    collate_fn=dict(type='collate_pictures'),
    dataset=dict(
        data_root='data/shapes/cls/val',
        metainfo=dict(
            classes=(
                'circle',
                'cross',
                'ring',
                'square',
                'star',
                'triangle',
            )),
        reader='folder',
        test_mode=True,
        transform=dict(crop=1.0, size=64, type='TestTransform'),
        type='LabelledPictures'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='PictureSampler'))
val_evaluator = dict(type='ClassificationMetric')
vis_backends = [
    dict(type='LocalVisBackend'),
    dict(type='TensorboardVisBackend'),
]
visualizer = dict(
    name='visualizer',
    type='Visualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
        dict(type='TensorboardVisBackend'),
    ])
work_dir = 'work_dirs/convnext_a_shapes'
