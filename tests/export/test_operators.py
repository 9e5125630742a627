"""The detector's operators against torchvision and mmdet, in torch and in both runtimes."""

import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor, nn
from torchvision.ops import batched_nms

import convnext_dense  # noqa: F401 (mmcv's operators)
from convnext_dense.export.levels import levels_of
from convnext_dense.export.operators import SUPPRESSED, choose_best, pool_regions, suppress
from tests.export.graphs import results, translate

STRIDES, FINEST, CHANNELS = (4, 8, 16, 32), 56, 3
DYNAMIC = torch.export.Dim.DYNAMIC


def boxes_of(groups: int, rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Boxes (groups, rows, 4) that overlap much, and scores; some rows are empty."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(groups, rows, 2, generator=generator) * 60
    boxes = torch.cat([low, low + 5 + torch.rand(groups, rows, 2, generator=generator) * 40], -1)
    scores = torch.rand(groups, rows, generator=generator)
    scores[:, ::7] = SUPPRESSED
    return boxes, scores


def reference(boxes: Tensor, scores: Tensor, iou: float, least: float) -> Tensor:
    """torchvision's suppression of each group."""
    kept = torch.full_like(scores, -1.0)
    for group in range(len(boxes)):
        chosen = torch.nonzero(scores[group] > least).flatten()
        of_group = boxes[group, chosen], scores[group, chosen], torch.zeros_like(chosen)
        chosen = chosen[batched_nms(*of_group, iou)]
        kept[group, chosen] = scores[group, chosen]
    return kept


class Suppress(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        return suppress(boxes, scores, 0.5, 0.05)


@pytest.fixture(scope="module")
def suppressing(tmp_path_factory):
    boxes, scores = boxes_of(2, 30)
    axes = {name: {0: DYNAMIC, 1: DYNAMIC} for name in ("boxes", "scores")}
    inputs = dict(boxes=boxes, scores=scores)
    return translate(Suppress(), inputs, axes, tmp_path_factory.mktemp("suppress"))


@pytest.mark.parametrize("groups, rows", [(2, 30), (3, 200), (1, 1), (7, 5)])
def test_suppression_is_torchvisions(suppressing, groups, rows):
    boxes, scores = boxes_of(groups, rows, seed=rows)
    expected = reference(boxes, scores, 0.5, 0.05)
    assert rows < 30 or ((expected >= 0).any() and (expected < scores).any())
    torch.testing.assert_close(suppress(boxes, scores, 0.5, 0.05), expected, rtol=0, atol=0)
    for found in results(suppressing, dict(boxes=boxes, scores=scores)):
        np.testing.assert_array_equal(found, expected.numpy())


def test_of_nothing_nothing_is_kept(suppressing):
    boxes, scores = boxes_of(2, 30)
    for nothing in (torch.full_like(scores, SUPPRESSED), torch.full_like(scores, 0.05)):
        assert (suppress(boxes, nothing, 0.5, 0.05) == SUPPRESSED).all()
        for found in results(suppressing, dict(boxes=boxes, scores=nothing)):
            assert (found == SUPPRESSED).all()


class ChooseBest(nn.Module):
    def forward(self, scores: Tensor) -> Tensor:
        return choose_best(scores, 20)


@pytest.fixture(scope="module")
def choosing(tmp_path_factory):
    """onnxruntime by its TopK; both runtimes by the least value that is chosen."""
    graphs = []
    for ordered in (True, False):
        inputs, axes = dict(scores=torch.rand(2, 50)), dict(scores={0: DYNAMIC, 1: DYNAMIC})
        folder = tmp_path_factory.mktemp("best")
        graphs.append(translate(ChooseBest(), inputs, axes, folder, ordered))
    return [graphs[0][0], *graphs[1]]


@pytest.mark.parametrize("rows", [20, 21, 200, 5000])
@pytest.mark.parametrize("values", [1, 3, 50])
def test_equal_scores_are_chosen_by_place(choosing, rows, values):
    scores = torch.randint(values, (3, rows), generator=torch.Generator().manual_seed(rows)) / 64.0
    expected = np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :20]
    np.testing.assert_array_equal(choose_best(scores, 20), expected)
    by_topk, *by_value = results(choosing, dict(scores=scores))
    np.testing.assert_array_equal(by_topk, expected)
    for found in by_value:  # in the order of their places, all together
        np.testing.assert_array_equal(found, np.sort(expected, 1))


class Pool(nn.Module):
    def __init__(self, ratio: int, size: int = 5) -> None:
        super().__init__()
        self.ratio, self.size = ratio, size

    def forward(self, a: Tensor, b: Tensor, c: Tensor, d: Tensor, regions: Tensor) -> Tensor:
        return pool_regions([a, b, c, d], regions, self.size, list(STRIDES), self.ratio, FINEST)


def pyramid(batch: int, height: int, width: int) -> dict[str, Tensor]:
    """Feature maps of an image of any size."""
    generator = torch.Generator().manual_seed(height)
    sizes = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
    names = zip("abcd", sizes, strict=True)
    return {name: torch.randn(batch, CHANNELS, *size, generator=generator) for name, size in names}


def regions_of(batch: int, count: int, height: int, width: int) -> Tensor:
    """Regions (count, 5) of all levels, those without extent too."""
    generator = torch.Generator().manual_seed(count)
    ends = torch.rand(count, 2, 2, generator=generator).sort(1).values
    boxes = (ends * torch.tensor([width, height])).reshape(count, 4)
    boxes[1::9, 2:] = boxes[1::9, :2] + 12
    boxes[::10, 2] = boxes[::10, 0]
    images = torch.randint(batch, (count, 1), generator=generator).float()
    return torch.cat([images, boxes], 1)


@pytest.fixture(scope="module", params=[2, 0], ids=["two samples", "adaptive"])
def pooling(request, tmp_path_factory):
    """Samples a bin, mmdet's extractor, and both runtimes."""
    ratio = request.param
    inputs = dict(pyramid(2, 320, 480), regions=regions_of(2, 40, 320, 480))
    axes = {name: {0: DYNAMIC, 2: DYNAMIC, 3: DYNAMIC} for name in "abcd"}
    axes["regions"] = {0: DYNAMIC}
    extractor = SingleRoIExtractor(
        dict(type="RoIAlign", output_size=5, sampling_ratio=ratio), CHANNELS, STRIDES, FINEST
    )
    folder = tmp_path_factory.mktemp("pool")
    return ratio, extractor, translate(Pool(ratio), inputs, axes, folder)


@pytest.mark.parametrize("batch, count, height, width", [
    (2, 40, 320, 480), (1, 1, 320, 480), (3, 90, 517, 331), (1, 25, 640, 640),
])  # fmt: skip
def test_pooling_is_mmdets(pooling, batch, count, height, width):
    ratio, extractor, sessions = pooling
    maps, regions = pyramid(batch, height, width), regions_of(batch, count, height, width)
    with torch.no_grad():
        expected = extractor(tuple(maps.values()), regions)
    found = pool_regions(list(maps.values()), regions, 5, list(STRIDES), ratio, FINEST)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for found in results(sessions, dict(maps, regions=regions)):
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_a_region_on_the_edge_of_two_levels_belongs_to_mmdets(pooling):
    ratio, extractor, sessions = pooling
    sides = torch.tensor([55.9, 56, 112, 224, 448, 111.999, 111.99999, 223.99998, 447.999, 448.001])
    regions = torch.zeros(len(sides), 5)
    regions[:, 1] = regions[:, 2] = 7
    regions[:, 3] = regions[:, 4] = 7 + sides
    maps = pyramid(1, 520, 520)
    with torch.no_grad():
        expected = extractor(tuple(maps.values()), regions)
        levels = extractor.map_roi_levels(regions, len(STRIDES))
    assert levels_of(regions, len(STRIDES), FINEST).tolist() == levels.tolist()
    assert levels.unique().tolist() == [0, 1, 2, 3]
    for found in results(sessions, dict(maps, regions=regions)):
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)
