"""Results for a test server, whose file has images and categories and no annotations."""

import json

import pytest
import torch

from convnext_dense.data.coco.annotation_file import read_summary
from convnext_dense.detection.coco_metric import CocoInstanceMetric


@pytest.mark.parametrize("lacking", [True, False])
def test_results_are_written_and_figures_left_out(tmp_path, lacking):
    content = dict(
        images=[dict(id=7, file_name="a.jpg", width=20, height=10)],
        categories=[dict(id=90, name="cat"), dict(id=3, name="dog")],
        **({} if lacking else dict(annotations=[])),
    )
    file, out = tmp_path / "image_info_test.json", tmp_path / "out/results.json"
    file.write_text(json.dumps(content))
    assert read_summary(str(file)).num_annotations == 0
    metric = CocoInstanceMetric(str(file), metric="bbox", outfile=str(out))
    metric.dataset_meta = dict(classes=("cat", "dog"))
    predicted = dict(
        bboxes=torch.tensor([[1.0, 2, 5, 9]]), scores=torch.tensor([0.5]), labels=torch.tensor([1])
    )
    metric.process(None, [dict(img_id=7, pred_instances=predicted)])
    assert metric.evaluate(1) == {}
    assert json.loads(out.read_text()) == [
        dict(image_id=7, category_id=3, bbox=[1, 2, 4, 7], score=0.5)
    ]
