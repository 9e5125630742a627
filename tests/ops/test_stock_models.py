"""Stock models of mmdet and mmseg that need compiled operators of mmcv: a loss and a prediction.

The models are those of the libraries' own config files, with the smallest backbone of this package
and few classes.
"""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

pytest.importorskip("mmcv.ops")
CHANNELS = [40, 80, 160, 320]
BACKBONE = {"type": "ConvNeXt", "arch": "atto", "out_indices": (0, 1, 2, 3)}


@pytest.fixture
def calls(monkeypatch) -> set[str]:
    """Names of the operators that are called."""
    extension, names = sys.modules["mmcv._ext"], set()

    def counted(name, operator):
        def call(*args, **kwargs):
            names.add(name)
            return operator(*args, **kwargs)

        return call

    for name in extension.__all__:
        monkeypatch.setattr(extension, name, counted(name, getattr(extension, name)))
    return names


def stock_model(library: str, file: str) -> dict:
    """The model of a config of the library, with our backbone instead of its ResNet."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    (package,) = importlib.util.find_spec(library).submodule_search_locations
    model = Config.fromfile(Path(package, ".mim", "configs", file)).model
    model.pop("pretrained", None)
    model.backbone = BACKBONE
    return model


def loss_and_prediction(model, inputs: dict):
    """One loss with its gradients, and the prediction of the first image."""
    model.init_weights()
    losses = model(**model.data_preprocessor(inputs, training=True), mode="loss")
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert loss.isfinite()
    # The backbone has a norm for each level, and not every neck or head reads all levels.
    without = [name for name, value in model.named_parameters() if value.grad is None]
    assert [name for name in without if not name.startswith("backbone.norm")] == []
    model.eval()
    first = {key: values[:1] for key, values in inputs.items()}  # guided anchors take one at a time
    with torch.no_grad():
        (prediction,) = model(**model.data_preprocessor(first, training=False), mode="predict")
    return prediction


FPN_CARAFE = "carafe/mask-rcnn_r50_fpn-carafe_1x_coco.py"
CARAFE = {"carafe_forward", "carafe_backward"}
POOLING = {"deform_roi_pool_forward", "deform_roi_pool_backward"}
DETECTORS = {
    "Mask R-CNN with FPN_CARAFE and a CARAFE mask head": (FPN_CARAFE, CARAFE),
    "PointRend with FPN_CARAFE": ("point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py", CARAFE),
    "Faster R-CNN with deformable pooling": (
        "dcn/faster-rcnn_r50_fpn_dpool_1x_coco.py",
        POOLING,
    ),
    "Faster R-CNN with modulated deformable pooling": (
        "dcnv2/faster-rcnn_r50_fpn_mdpool_1x_coco.py",
        POOLING,
    ),
    "RetinaNet with guided anchors": (
        "guided_anchoring/ga-retinanet_r50_fpn_1x_coco.py",
        {"masked_im2col_forward", "masked_col2im_forward"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_detector(calls, name):
    torch.manual_seed(0)
    file, operators = DETECTORS[name]
    config = stock_model("mmdet", file)
    if operators == CARAFE:
        config.neck = stock_model("mmdet", FPN_CARAFE).neck
    config.neck.in_channels = CHANNELS[-len(config.neck.in_channels) :]
    from mmdet.registry import MODELS
    from mmdet.testing import demo_mm_inputs
    from mmdet.utils import register_all_modules

    register_all_modules()
    with_masks = config.get("roi_head", {}).get("mask_head") is not None
    inputs = demo_mm_inputs(2, [[3, 128, 128], [3, 125, 130]], with_mask=with_masks)
    prediction = loss_and_prediction(MODELS.build(config), inputs)
    assert prediction.pred_instances.bboxes.isfinite().all()
    assert operators <= calls


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["collect", "distribute", "bi-direction"])
def test_psanet(calls, kind):
    torch.manual_seed(0)
    config = stock_model("mmseg", "_base_/models/psanet_r50-d8.py")
    config.decode_head.update(in_channels=CHANNELS[3], psa_type=kind)
    config.decode_head.update(mask_size=(7, 9), norm_cfg={"type": "BN"})
    config.auxiliary_head.update(in_channels=CHANNELS[2], norm_cfg={"type": "BN"})
    from mmengine.structures import PixelData
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample
    from mmseg.utils import register_all_modules

    register_all_modules()
    config.data_preprocessor.size = (128, 160)
    inputs = {"inputs": [], "data_samples": []}
    for _ in range(2):
        labels = torch.randint(0, 19, (1, 128, 160))
        sample = SegDataSample(gt_sem_seg=PixelData(data=labels))
        sample.set_metainfo({"img_shape": (128, 160), "ori_shape": (128, 160)})
        inputs["data_samples"].append(sample)
        inputs["inputs"].append(torch.randint(0, 255, (3, 128, 160), dtype=torch.uint8))
    prediction = loss_and_prediction(MODELS.build(config), inputs)
    assert prediction.pred_sem_seg.shape == (128, 160)
    assert {"psamask_forward", "psamask_backward"} <= calls
