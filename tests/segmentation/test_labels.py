"""Reading label images: the same as mmsegmentation where they are sound, one sentence else."""

import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from convnext_dense.errors import UserError
from convnext_dense.segmentation.load_labels import LoadLabels


def sample(path, reduce_zero_label=False, label_map=None, **more) -> dict:
    return dict(
        seg_map_path=str(path),
        reduce_zero_label=reduce_zero_label,
        label_map=label_map,
        seg_fields=[],
        **more,
    )


@pytest.fixture
def write(tmp_path):
    def _write(array, name="label.png"):
        Image.fromarray(np.asarray(array)).save(tmp_path / name)
        return tmp_path / name

    return _write


@pytest.mark.parametrize("reduce_zero", [False, True])
@pytest.mark.parametrize("mapping", [None, {0: 255, 1: 0, 2: 255, 3: 1, 4: 2}])
def test_equals_mmsegmentation(write, reduce_zero, mapping):
    rng = np.random.default_rng(0)
    indices = rng.choice([*range(reduce_zero, 5 + reduce_zero), 255], size=(9, 7))
    indices[0, 0] = 0
    path = write(indices.astype(np.uint8))
    ours = LoadLabels(num_classes=3 if mapping else 5)(sample(path, reduce_zero, mapping))
    theirs = LoadAnnotations()(sample(path, reduce_zero, mapping))
    assert ours["gt_seg_map"].dtype == np.uint8
    np.testing.assert_array_equal(ours["gt_seg_map"], theirs["gt_seg_map"])
    assert ours["seg_fields"] == theirs["seg_fields"]


def test_a_palette_gives_its_indices(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 255]], np.uint8), mode="P")
    image.putpalette([value * 7 % 256 for value in range(768)])
    image.save(tmp_path / "palette.png")
    found = LoadLabels(3)(sample(tmp_path / "palette.png"))["gt_seg_map"]
    np.testing.assert_array_equal(found, [[0, 1], [2, 255]])


@pytest.mark.parametrize(
    ("value", "reduce_zero", "message"),
    [
        (7, False, r"label\.png holds the label 7, but the 7 classes have the labels 0 to 6"),
        (8, True, r"label\.png holds the label 8, but the 7 classes have the labels 1 to 7"),
        (254, False, r"label\.png holds the label 254"),
    ],
)
def test_labels_out_of_range_name_the_file(write, value, reduce_zero, message):
    path = write(np.array([[1, value, 255]], np.uint8))
    with pytest.raises(UserError, match=message):
        LoadLabels(7)(sample(path, reduce_zero))
    assert LoadLabels(value)(sample(write(np.array([[value - 1]], np.uint8))))


def test_sixteen_bits_do_not_wrap(write):
    path = write(np.array([[0, 257]], np.uint16))
    with pytest.raises(UserError, match="holds the label 257"):
        LoadLabels(7)(sample(path))


def test_files_that_are_no_labels(write, tmp_path):
    with pytest.raises(UserError, match="There is no label file .*gone.png"):
        LoadLabels(7)(sample(tmp_path / "gone.png"))
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match="text.png cannot be read as a label image"):
        LoadLabels(7)(sample(tmp_path / "text.png"))
    path = write(np.arange(48).reshape(4, 4, 3).astype(np.uint8))
    with pytest.raises(UserError, match="label.png has 3 channels with 16 colours, .*--palette"):
        LoadLabels(7)(sample(path))
    path = write(np.zeros((4, 5), np.uint8))
    with pytest.raises(UserError, match="label.png has 5 x 4 pixels but its image has 5 x 6"):
        LoadLabels(7)(sample(path, ori_shape=(6, 5)))
    path = write(np.full((4, 5), 1.7, np.float32), "label.tif")
    with pytest.raises(UserError, match="label.tif holds floating-point numbers"):
        LoadLabels(7)(sample(path))
