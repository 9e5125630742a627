"""A ConvNeXt classifier with the augmentation that runs on the device (table 5 of the paper).

`num_classes` is set nowhere: the engine takes it from the data's classes.
"""

model = dict(
    type="ImageClassifier",
    data_preprocessor=dict(
        type="ClassificationPreprocessor",
        label_smoothing=0.1,
        erasing=0.25,
        mixup=0.8,
        cutmix=1.0,
    ),
    backbone=dict(type="ConvNeXtClassifier", arch="tiny", drop_path_rate=0.1),
)
