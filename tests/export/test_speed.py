"""``benchmark ... --against export:DIR``: checked first, then timed together."""

import json

import pytest

from convnext_dense.benchmark import exported
from convnext_dense.errors import UserError
from tests.export.random_models import DETECTOR, write_checkpoint
from tests.running import run


def peers(model) -> list[str]:
    return [exported.PREFIX + one.source for one in model.runtimes.values()]


@pytest.mark.slow
def test_a_detector_beside_its_exports(detector):
    out = run(
        "benchmark", "detect", detector.trained.source, "--against", *peers(detector),
        "--rounds", 1, "--image-size", "120x160", "--threads", 1, "--json",
    )  # fmt: skip
    rows = json.loads(out[out.index("[") :])
    assert [row["name"] for row in rows] == [detector.trained.source, *peers(detector)]
    assert rows[0]["ratio"] == 1 and all(row["images_per_s"] > 0 for row in rows)
    assert "onnxruntime" in rows[1]["how"] and "openvino" in rows[2]["how"]
    for row in rows:
        assert row["ratio"] == row["images_per_s"] / rows[0]["images_per_s"]


def test_an_export_of_another_checkpoint_is_not_timed(detector, tmp_path):
    other = write_checkpoint(tmp_path / "b.pth", "detection/mask_rcnn_convnext_a_shapes", DETECTOR)
    with pytest.raises(UserError, match="other results than the model in torch .*: name the check"):
        exported.measure(str(other), peers(detector)[:1], "detect", (120, 160), rounds=1)


@pytest.mark.parametrize("mode, against, sentence", [
    ("infer", None, "infer does not measure exports of detection: measure them by detect"),
    ("detect", "timm:convnext_tiny", "compared with their checkpoint alone: give export:DIR"),
])  # fmt: skip
def test_what_cannot_be_compared(detector, mode, against, sentence):
    with pytest.raises(UserError, match=sentence):
        exported.measure(detector.trained.source, [against or peers(detector)[0]], mode)
