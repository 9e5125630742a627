"""The one recipe of all steps but the first: table 5 without averaged weights (appendix A.1).

The paper found that the average harms networks with BatchNorm severely.
"""

_base_ = [
    "../../_base_/model.py",
    "../../_base_/imagenet_1k.py",
    "../../_base_/schedule_300e_plain.py",
]
model = dict(backbone=dict(_delete_=True, type="ConvNeXtRoadmapClassifier"))
