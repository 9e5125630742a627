"""Exported detectors: the objects of the torch model, whatever sizes, batches and numbers."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample

from convnext_dense.export.operators import SUPPRESSED
from convnext_dense.export.parity.pictures import drawn_pictures
from convnext_dense.export.run import ExportFlags, export
from convnext_dense.exported.description import read_description
from convnext_dense.exported.loading import load_exported
from convnext_dense.inference.instances import Instances
from tests.export.agreement import check_detections, pair_rows
from tests.export.conftest import MASK_RCNN, RUNTIMES
from tests.export.random_models import DETECTOR, channels, write_checkpoint


def flat(value: int) -> np.ndarray:
    """An image that shows nothing."""
    return np.full((100, 140, 3), value, np.uint8)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_images_of_sizes_that_divide_badly(detector, runtime):
    images = drawn_pictures(3, 6).images
    ours = list(detector.trained.predict(images, threshold=0))
    assert len({result.size for result in ours}) == 6 and all(len(result) for result in ours)
    theirs = list(detector.runtimes[runtime].predict(images, threshold=0))
    for expected, found in zip(ours, theirs, strict=True):
        check_detections(expected, found)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("batch", [2, 3])
def test_a_batch_has_the_results_of_its_images_also_of_those_without_any(detector, runtime, batch):
    random = np.random.default_rng(5)
    noisy = [random.integers(0, 256, (100, 140, 3), dtype=np.uint8) for _ in range(2)]
    images = [noisy[0], flat(200), flat(128), noisy[1], flat(255), flat(0)]
    ours = list(detector.trained.predict(images, threshold=0))
    counts = [len(result) for result in ours]
    assert 0 in counts and max(counts) > 9 and any(0 < count < 5 for count in counts)
    theirs = list(detector.runtimes[runtime].predict(images, batch_size=batch, threshold=0))
    for expected, found in zip(ours, theirs, strict=True):
        check_detections(expected, found)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("batch", [1, 2])
def test_images_without_any_object(detector, runtime, batch):
    found = list(detector.runtimes[runtime].predict([flat(200)] * 2, batch_size=batch))
    assert [len(result) for result in found] == [0, 0] and found[0].masks.shape == (0, 100, 140)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("height, width", [(32, 32), (32, 64), (96, 32)])
def test_a_few_proposals(detector, runtime, height, width):
    """Inputs so small that they have fewer anchors than are asked for."""
    model, exported = detector.trained.network.model, detector.runtimes[runtime].network
    generator = torch.Generator().manual_seed(3)
    size = (height - 3, width - 5)
    pixels = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
    meta = dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), img_id=0)
    batch = dict(inputs=[pixels.flip(0)], data_samples=[DetDataSample(metainfo=meta)])
    with torch.no_grad():
        ours = model.test_step(batch)[0].pred_instances.numpy()
    padded = np.empty((1, 3, height, width), np.float32)
    padded[:] = np.array(exported.description.mean).reshape(3, 1, 1)
    padded[0, :, : size[0], : size[1]] = pixels
    found = exported.session.run(dict(pixels=padded, sizes=np.array([size], np.float32)))
    kept = found["scores"][0] > SUPPRESSED
    theirs = Instances(*(found[name][0][kept] for name in ("boxes", "scores", "labels")), None)
    assert len(ours)
    pair_rows(Instances(ours.bboxes, ours.scores, ours.labels, None), theirs)


def test_tiles_are_those_of_the_torch_model(detector):
    (image,) = drawn_pictures(3, 1).images
    options = dict(tile=120, overlap=0.3, whole=True, threshold=0.3, batch_size=2)
    expected = detector.trained(image, **options)
    assert len(expected) > 3
    check_detections(expected, detector.runtimes["onnxruntime"](image, **options))


def test_the_report_and_the_folder(detector):
    facts = read_description(detector.folder).provenance
    rows = {row["what"]: row for row in facts["parity"]["rows"]}
    assert rows["largest box shift (pixels)"]["difference"] < 0.01
    assert rows["same object and label"]["difference"] == 1
    assert rows["box AP"]["torch"] == rows["box AP"]["exported"] > 0.5
    assert {path.name for path in detector.folder.iterdir()} == {
        "model.onnx", "model.json", "config.json",
    }  # fmt: skip
    assert facts["checkpoint"] == "a.pth" and len(facts["sha256"]) == 64
    everything = b"".join(path.read_bytes() for path in detector.folder.iterdir())
    assert b"site-packages" not in everything and b"convnext_dense/export" not in everything


def test_several_views_are_refused(detector):
    from convnext_dense.errors import UserError

    with pytest.raises(UserError, match="not tested in several views: leave tta out"):
        list(detector.runtimes["onnxruntime"].predict(flat(0), tta=True))


ONE_CLASS = {"model.roi_head.bbox_head.reg_class_agnostic": True}


@pytest.mark.slow
@pytest.mark.parametrize("config, to, options", [
    ("cascade_convnext_a_shapes", "openvino", {}),
    ("cascade_convnext_a_shapes", "torch-export", {}),
    ("mask_rcnn_convnext_a_shapes", "onnx", None),
    ("mask_rcnn_convnext_a_shapes", "onnx", ONE_CLASS),
    ("mask_rcnn_convnext_a_shapes", "onnx", channels(1)),
    ("mask_rcnn_convnext_a_shapes", "openvino", channels(4)),
    ("mask_rcnn_convnext_a_shapes", "tensorrt", {}),
    ("cascade_convnext_t_3x", "onnx", {}),
    ("mask_rcnn_convnext_t_3x", "openvino", {}),
])  # fmt: skip
def test_every_kind_of_detector(config, to, options, tmp_path):
    small = {} if "convnext_t" in config else DETECTOR
    has_masks = options is not None  # None: boxes alone
    options = {
        **small,
        **(options or {}),
        "model.roi_head.bbox_roi_extractor.roi_layer.sampling_ratio": 0,
    }
    checkpoint = write_checkpoint(
        tmp_path / "a.pth", f"detection/{config}", options=options, has_masks=has_masks
    )
    _, parity = export(ExportFlags(str(checkpoint), to=to, out=str(tmp_path / "out"), number=4))
    rows = {row.what: row.difference for row in parity.rows}
    assert ("mask AP" in rows) == has_masks
    assert rows["largest box shift (pixels)"] < 0.05 and rows["same object and label"] >= 0.995
    if to == "tensorrt":
        script = (tmp_path / "out/build_engine.sh").read_text()
        assert "trtexec" in script and "sizes:8x2" in script and "--noTF32" in script


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_a_detector_of_one_size(to, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "a.pth", MASK_RCNN, options=DETECTOR)
    flags = dict(sizes="fixed", input_size=(192, 256), out=str(tmp_path / "out"), number=4)
    folder, parity = export(ExportFlags(str(checkpoint), to=to, **flags))
    assert "both on a canvas of 192 x 256" in parity.source
    images = [flat(100), flat(30), *drawn_pictures(3, 2).images]
    model = load_exported(folder)
    alone = [model(image) for image in images]
    together = list(model.predict(images, batch_size=4))
    for one, other in zip(alone, together, strict=True):
        check_detections(one, other)
