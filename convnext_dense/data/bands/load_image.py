"""The step of a pipeline that reads images, and pipelines whose errors name the image."""

from typing import Any

from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS
from torch.utils.data import Dataset

from convnext_dense.data.bands.reading import RGB, Reading
from convnext_dense.data.images import explaining_opencv, read_image
from convnext_dense.errors import UserError


@TRANSFORMS.register_module()
class LoadImage:
    """Reads ``img_path`` into ``img``, BGR uint8 (height, width, 3): the first step of pipelines.

    mmcv's LoadImageFromFile with sentences and one check more: where the annotation file states
    another size, its boxes and masks would lie beside the objects.

    Args:
        channels: Those of the model; the fit to the data fills in other numbers than 3. The bands
            then have the file's order.
        value_range: The values that become 0 and 255, of images of more than 8 bits, which become
            float32; see :class:`convnext_dense.data.bands.reading.Reading`.

    Raises:
        UserError: See :func:`read_image`; for an image of another size than stated.
    """

    def __init__(self, channels: int = RGB, value_range: tuple[float, float] | None = None) -> None:
        self.reading = Reading(channels, tuple(value_range) if value_range else None)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Adds ``img``, ``img_shape`` and ``ori_shape`` to the sample."""
        path = results["img_path"]
        image = read_image(path, self.reading)
        size = image.shape[:2]
        stated = results.get("height", size[0]), results.get("width", size[1])
        if stated != size:
            turned = stated == size[::-1]
            hint = " It is turned by its EXIF entry: save it as it is shown." if turned else ""
            raise UserError(
                f"{path} has {size[1]} x {size[0]} pixels, but the annotation file says "
                f"{stated[1]} x {stated[0]}: correct the entry, and its boxes and masks.{hint}"
            )
        results.update(img=image, img_shape=size, ori_shape=size)
        return results

    def __repr__(self) -> str:
        read = self.reading
        return f"{type(self).__name__}(channels={read.channels}, value_range={read.value_range})"


class NamingPipeline(Compose):
    """A dataset's pipeline whose errors name the image."""

    def __init__(self, pipeline: Compose) -> None:
        self.transforms = pipeline.transforms

    def __call__(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """Runs all steps on one sample."""
        with explaining_opencv(str(data.get("img_path", "An image"))):
            return super().__call__(data)


def connect_pipelines(dataset: Dataset) -> None:
    """Lets the pipelines of a dataset, and of those that it wraps, name their images.

    Steps that mix images (``use_dataset``) are told the dataset that the others come from.
    """
    if isinstance(getattr(dataset, "pipeline", None), Compose):
        dataset.pipeline = NamingPipeline(dataset.pipeline)
        for step in dataset.pipeline.transforms:
            if hasattr(step, "use_dataset"):
                step.use_dataset(dataset)
    for inner in (getattr(dataset, "dataset", None), *getattr(dataset, "datasets", ())):
        if inner is not None:
            connect_pipelines(inner)
