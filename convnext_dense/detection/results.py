"""The detections of one image: selected by their score, described, drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

from convnext_dense.tasks import Results


class DetectionResults(Results):
    """Results of a detector.

    Args:
        classes: Class names, by label.
        score_threshold: Detections below this score are left out.
    """

    def __init__(self, classes: tuple[str, ...], score_threshold: float) -> None:
        self.classes = classes
        self.score_threshold = score_threshold

    def select(self, sample: Any) -> Any:
        """Leaves out detections that score below the threshold."""
        selected = sample.pred_instances.scores >= self.score_threshold
        sample.pred_instances = sample.pred_instances[selected]
        return sample

    def draw_options(self, image: Any) -> dict[str, Any]:
        """The threshold, for mmdet's visualizer."""
        return dict(pred_score_thr=self.score_threshold)

    def describe(self, sample: Any) -> dict[str, Any]:
        """The detections; boxes as (left, top, right, bottom) in pixels, masks run-length coded."""
        from convnext_dense.detection.rle import encode_masks  # needs pycocotools

        instances = sample.pred_instances
        masks = encode_masks(instances.masks) if "masks" in instances else [None] * len(instances)
        rows = zip(instances.bboxes, instances.scores, instances.labels, masks, strict=True)
        return {
            "detections": [
                {
                    "class": self.classes[int(label)],
                    "score": float(score),
                    "bbox": [float(edge) for edge in box],
                    **({"segmentation": mask} if mask else {}),
                }
                for box, score, label, mask in rows
            ]
        }

    def sum_up(self, descriptions: Sequence[Mapping[str, Any]]) -> str:
        """Counts the detections."""
        return f"{sum(len(image['detections']) for image in descriptions)} detections"
