auto_scale_lr = dict(base_batch_size=2, enable=False)
crop_size = (
    112,
    112,
)
custom_hooks = [
    dict(type='LearningRateHook'),
    dict(type='MetricsFileHook'),
    dict(type='ProgressHook'),
    dict(type='RandomStateHook'),
    dict(type='PartialStepHook'),
    dict(type='MeanLossHook'),
    dict(limit=10, type='NumbersHook'),
    dict(type='InterruptHook'),
]
custom_imports = dict(
    allow_failed_imports=False,
    imports=[
        'convnext_dense.segmentation.labels',
        'convnext_dense.segmentation.losses',
        'convnext_dense.segmentation.mean_iou',
        'convnext_dense.segmentation.pictures',
        'convnext_dense.segmentation.segmentor',
        'convnext_dense.segmentation.views',
    ])
data_root = 'data'
default_hooks = dict(
    checkpoint=dict(
        by_epoch=False, interval=2, max_keep_ckpts=3, type='CheckpointHook'),
    logger=dict(interval=1, log_metric_by_epoch=False, type='LoggerHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    timer=dict(type='IterTimerHook'),
    visualization=dict(type='LabelPicturesHook'))
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
launcher = 'none'
load_from = None
log_level = 'INFO'
log_processor = dict(by_epoch=False, type='PassLogProcessor', window_size=50)
model = dict(
    auxiliary_head=dict(
        align_corners=False,
        channels=32,
        concat_input=False,
        dropout_ratio=0.0,
        in_channels=160,
        in_index=2,
        loss_decode=dict(
            loss_weight=0.4, power=0.1, type='BalancedCrossEntropy'),
        norm_cfg=dict(num_groups=8, requires_grad=True, type='GN'),
        num_classes=7,
        num_convs=1,
        type='FCNHead'),
    backbone=dict(
        arch='atto',
        drop_path_rate=0.0,
        init_cfg=dict(
            distribution='normal',
            layer=[
                'Conv2d',
                'Linear',
            ],
            mode='fan_in',
            nonlinearity='linear',
            type='Kaiming'),
        layer_scale_init_value=1.0,
        type='ConvNeXt'),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            123.675,
            116.28,
            103.53,
        ],
        pad_val=0,
        seg_pad_val=255,
        size=(
            112,
            112,
        ),
        std=[
            58.395,
            57.12,
            57.375,
        ],
        type='SegDataPreProcessor'),
    decode_head=dict(
        align_corners=False,
        channels=32,
        dropout_ratio=0.0,
        in_channels=[
            40,
            80,
            160,
            320,
        ],
        in_index=[
            0,
            1,
            2,
            3,
        ],
        loss_decode=dict(power=0.1, type='BalancedCrossEntropy'),
        norm_cfg=dict(num_groups=8, requires_grad=True, type='GN'),
        num_classes=7,
        pool_scales=(
            1,
            2,
            3,
            6,
        ),
        type='UPerHead'),
    test_cfg=dict(keep_scores=False, mode='whole'),
    train_cfg=dict(),
    type='Segmentor')
norm_cfg = dict(num_groups=8, type='GN')
optim_wrapper = dict(
    clip_grad=dict(max_norm=5.0),
    constructor='LayerDecayOptimWrapperConstructor',
    optimizer=dict(
        betas=(
            0.9,
            0.95,
        ),
        fused=True,
        lr=0.004,
        type='AdamW',
        weight_decay=0.05),
    paramwise_cfg=dict(decay_rate=1.0, decay_type='stage_wise'),
    type='OptimWrapper')
param_scheduler = [
    dict(begin=0, by_epoch=False, end=50, start_factor=0.01, type='LinearLR'),
    dict(
        begin=0,
        by_epoch=False,
        end=9500,
        eta_min_ratio=0.01,
        type='CosineAnnealingLR'),
]
randomness = dict(deterministic=False, seed=0)
recipe_pictures = 400
resume = False
scale = (
    224,
    168,
)
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=1,
    dataset=dict(
        data_prefix=dict(img_path='val', seg_map_path='labels/val'),
        data_root='data/shapes',
        metainfo=dict(
            classes=(
                'background',
                'circle',
                'square',
                'triangle',
                'star',
                'ring',
                'cross',
            )),
        pipeline=[
            dict(type='LoadPicture'),
            dict(keep_ratio=True, scale=(
                224,
                168,
            ), type='Resize'),
            dict(num_classes=7, type='LoadLabels'),
            dict(type='PackSegInputs'),
        ],
        test_mode=True,
        type='BaseSegDataset'),
    drop_last=False,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'))
test_evaluator = dict(type='MeanIoUMetric')
test_pipeline = [
    dict(type='LoadPicture'),
    dict(keep_ratio=True, scale=(
        224,
        168,
    ), type='Resize'),
    dict(type='LoadLabels'),
    dict(type='PackSegInputs'),
]
train_cfg = dict(max_iters=2, type='ResumableIterLoop', val_interval=9500)
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        data_prefix=dict(img_path='train', seg_map_path='labels/train'),
        data_root='data/shapes',
        metainfo=dict(
            classes=(
                'background',
                'circle',
                'square',
                'triangle',
                'star',
                'ring',
                'cross',
            )),
        pipeline=[
            dict(type='LoadPicture'),
            dict(num_classes=7, type='LoadLabels'),
            dict(
                keep_ratio=True,
                ratio_range=(
                    0.8,
                    1.25,
                ),
                scale=(
                    224,
                    168,
                ),
                type='RandomResize'),
            dict(crop_size=(
                112,
                112,
            ), type='RandomCrop'),
            dict(
                direction=[
                    'horizontal',
                    'vertical',
                    'diagonal',
                ],
                prob=[
                    0.25,
                    0.25,
                    0.25,
                ],
                type='RandomFlip'),
            dict(type='PackSegInputs'),
        ],
        type='BaseSegDataset'),
    drop_last=True,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=True, type='DefaultSampler'))
train_pipeline = [
    dict(type='LoadPicture'),
    dict(type='LoadLabels'),
    dict(
        keep_ratio=True,
        ratio_range=(
            0.8,
            1.25,
        ),
        scale=(
            224,
            168,
        ),
        type='RandomResize'),
    dict(crop_size=(
        112,
        112,
    ), type='RandomCrop'),
    dict(
        direction=[
            'horizontal',
            'vertical',
            'diagonal',
        ],
        prob=[
            0.25,
            0.25,
            0.25,
        ],
        type='RandomFlip'),
    dict(type='PackSegInputs'),
]
tta_views = dict(
    flip=True,
    ratios=(
        0.75,
        1.0,
        1.25,
    ),
    strip_memory=256,
    type='SegmentationViews')
val_cfg = dict(type='ValLoop')
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        data_prefix=dict(img_path='val', seg_map_path='labels/val'),
        data_root='data/shapes',
        metainfo=dict(
            classes=(
                'background',
                'circle',
                'square',
                'triangle',
                'star',
                'ring',
                'cross',
            )),
        pipeline=[
            dict(type='LoadPicture'),
            dict(keep_ratio=True, scale=(
                224,
                168,
            ), type='Resize'),
            dict(num_classes=7, type='LoadLabels'),
            dict(type='PackSegInputs'),
        ],
        test_mode=True,
        type='BaseSegDataset'),
    drop_last=False,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'))
val_evaluator = dict(type='MeanIoUMetric')
vis_backends = [
    dict(type='LocalVisBackend'),
    dict(type='TensorboardVisBackend'),
]
visualizer = dict(
    name='visualizer',
    type='SegLocalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
        dict(type='TensorboardVisBackend'),
    ])
work_dir = 'work_dirs/upernet_convnext_a_shapes'
