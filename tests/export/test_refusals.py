"""What an export refuses, and that it leaves nothing then."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from convnext_dense.errors import UserError
from convnext_dense.export import exportable, run, targets
from convnext_dense.export.parity.compare import Row
from convnext_dense.export.run import ExportFlags, export
from tests.export.conftest import MASK_RCNN, UPERNET
from tests.export.random_models import (
    DETECTOR,
    SEGMENTOR,
    write_checkpoint,
    write_classifier,
)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return str(write_classifier(tmp_path_factory.mktemp("checkpoint") / "a.pth"))


@pytest.mark.parametrize("flags, sentence", [
    (dict(half=True, int8="x"), "--int8 and --half are two precisions: give one of them"),
    (dict(int8="x", to="torch-export"), "--int8 is for --to onnx and --to openvino"),
    (dict(half=True, to="torch-export"), "--half is for onnx, openvino and tensorrt"),
    (dict(input_size=(64, 64)), "--input-size belongs to --sizes fixed: add it"),
    (dict(sizes="fixed"), "--sizes fixed needs --input-size HEIGHT WIDTH"),
    (dict(sizes="fixed", input_size=(96, 96)), "this classifier sees images of 224 x 224 pixels"),
    (dict(number=0), "--number must be at least 1, got 0"),
    (dict(images="empty"), "empty holds no image"),
    (dict(int8="empty"), "empty holds no image"),
])  # fmt: skip
def test_flags_that_do_not_go_together(flags, sentence, classifier, tmp_path):
    (tmp_path / "empty").mkdir()
    flags = {
        key: str(tmp_path / "empty") if value == "empty" else value for key, value in flags.items()
    }
    with pytest.raises(UserError, match=sentence):
        export(ExportFlags(classifier, out=str(tmp_path / "made/out"), **flags))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("size, sentence", [
    ((30, 64), "each side must be at least 32"), ((96, 100), "a multiple of 32"),
])  # fmt: skip
def test_sizes_that_a_detector_cannot_take(size, sentence, tmp_path):
    checkpoint = str(write_checkpoint(tmp_path / "a.pth", MASK_RCNN, options=DETECTOR))
    flags = ExportFlags(checkpoint, sizes="fixed", input_size=size, out=str(tmp_path / "out"))
    with pytest.raises(UserError, match=sentence):
        export(flags)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(classifier, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="file cannot be made"):
        export(ExportFlags(classifier, out=str(tmp_path / "file/out")))


def test_a_folder_that_is_there_is_left_as_it_is(classifier, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UserError, match="is there already: name another folder with --out"):
            export(ExportFlags(classifier, out=str(out)))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("options, sentence", [
    ({"model.test_cfg.rcnn.nms.type": "soft_nms"}, r"model\.test_cfg\.rcnn\.nms\.type is soft_nms"),
    ({"model.test_cfg.rpn.nms.type": "soft_nms"}, r"give --cfg-options model\.test_cfg\.rpn\.nms"),
])  # fmt: skip
def test_detectors_that_cannot_be_exported(options, sentence, tmp_path):
    options = {**DETECTOR, **options}
    checkpoint = str(write_checkpoint(tmp_path / "a.pth", MASK_RCNN, options=options))
    with pytest.raises(UserError, match=sentence):
        export(ExportFlags(checkpoint, out=str(tmp_path / "out")))


def test_a_missing_exporter_is_named_with_its_extra(classifier, monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"needs onnxscript, .*: pip install 'convnext_dense\[onn"):
        export(ExportFlags(classifier, out=str(tmp_path / "out")))


class Shifted(exportable.ExportedClassifier):
    """An export with a mistake."""

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor]:
        """Logits of pixels that are a little brighter."""
        return super().forward(pixels + 20)


def test_a_wrong_graph_is_refused_with_its_part_and_nothing_is_written(
    classifier, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(exportable, "ExportedClassifier", Shifted)
    sentence = (
        "is not the trained one: largest probability difference outside of what is allowed; the "
        "difference begins in the network itself. Nothing was written"
    )
    with pytest.raises(UserError, match=sentence):
        export(ExportFlags(classifier, out=str(tmp_path / "out"), number=2))
    assert not list(tmp_path.iterdir())
    assert "largest probability difference" in capsys.readouterr().out


def spoilt_head(module):
    """A wrong class of everything."""
    module.head.conv_seg.bias[0] += 3


def spoilt_backbone(module):
    """Another stem."""
    module.backbone.downsample_layers[0][0].weight.mul_(1.5)


@pytest.mark.slow
@pytest.mark.parametrize("spoil, part", [
    (spoilt_head, "the neck or the heads, behind a backbone that agrees"),
    (spoilt_backbone, "the backbone"),
])  # fmt: skip
def test_the_part_of_a_segmentor_is_named(spoil, part, monkeypatch, tmp_path):
    write = targets.write_onnx

    def spoilt(model, path):
        """Spoils what is written alone."""
        from copy import deepcopy

        wrong = deepcopy(model.module)
        with torch.no_grad():
            if hasattr(wrong, "head") or spoil is spoilt_backbone:
                spoil(wrong)
        write(replace(model, module=wrong), path)

    monkeypatch.setattr(targets, "write_onnx", spoilt)
    checkpoint = str(write_checkpoint(tmp_path / "a.pth", UPERNET, options=SEGMENTOR))
    with pytest.raises(UserError, match=f"the difference begins in {part}"):
        export(ExportFlags(checkpoint, out=str(tmp_path / "out"), number=2))
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


@pytest.fixture
def calibration(tmp_path):
    """A folder of images."""
    import cv2

    from convnext_dense.export.parity.pictures import drawn_pictures

    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(drawn_pictures(3, 6).images):
        cv2.imwrite(str(folder / f"{number}.png"), np.ascontiguousarray(image[..., ::-1]))
    return str(folder)


def test_the_loss_of_8_bits_is_printed(classifier, calibration, tmp_path, capsys):
    flags = ExportFlags(classifier, int8=calibration, out=str(tmp_path / "out"), number=3)
    folder, parity = export(flags)
    said = capsys.readouterr().out
    assert "8 bits in all products and the heads' convolutions but the last ones:" in said
    assert "largest probability difference" in said
    (apart,) = (row.difference for row in parity.rows if "probability" in row.what)
    assert 1e-5 < apart < 0.2  # 8 bits are not 32, and still the same network
    assert '"precision": "int8"' in (folder / "model.json").read_text()


def test_8_bits_that_change_too_much_are_refused(classifier, calibration, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "CHOICES", run.CHOICES[:1])
    monkeypatch.setattr(Row, "holds", property(lambda row: False))
    with pytest.raises(UserError, match="the difference begins in the 8 bits, whichever layers"):
        export(ExportFlags(classifier, int8=calibration, out=str(tmp_path / "out"), number=2))
    assert not (tmp_path / "out").exists()
