"""The counting against arithmetic on paper, and every row of the tables against the paper's."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.paper.costs.complexity import (
    COLUMNS,
    count_dense_model,
    count_dense_row,
    rows_named,
)
from convnext_dense.paper.tables.dense_rows import ROWS
from tests.running import run_apart

ROOT = Path(__file__).parents[2]
# The paper's toolbox left out Swin-L's attention products (docs/complexity.md).
UNCOUNTED_PRODUCTS = {
    "cascade_swin_l_in22k_3x": 10.459,
    "upernet_swin_l_in22k_640_160k": 15.629,
}


class Extractor(nn.Module):
    """Shapes of a pooling, as mmdet's extractors name them."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.out_channels = 3
        self.roi_layers = [nn.Identity()]
        self.roi_layers[0].output_size = (size, size)


class Detector(nn.Module):
    """Two stages of one layer each, counted by hand below."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 4, stride=4)
        self.rpn_head = nn.Conv2d(3, 5, 1)
        self.roi_head = nn.Module()
        self.roi_head.bbox_roi_extractor = nn.ModuleList(Extractor(7) for _ in range(2))
        self.roi_head.bbox_head = nn.ModuleList(
            nn.Sequential(nn.Flatten(), nn.Linear(3 * 49, 11)) for _ in range(2)
        )
        self.roi_head.mask_roi_extractor = Extractor(14)
        self.roi_head.mask_head = nn.Conv2d(3, 2, 3, padding=1)
        self.auxiliary_head = nn.Conv2d(3, 1000, 3)

    def extract_feat(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.stem(inputs)


def test_a_two_stage_detector_by_hand():
    with torch.device("meta"):
        model = Detector()
    positions = (64 // 4) * (48 // 4)
    expected = positions * 3 * 3 * 16  # stem
    expected += positions * 3 * 5  # rpn
    expected += 2 * 1000 * 3 * 49 * 11  # boxes: every proposal, both stages
    expected += 100 * 14 * 14 * 3 * 2 * 9  # masks
    assert count_dense_model(model, (64, 48)) == expected


def test_a_segmentor_without_its_auxiliary_head():
    with torch.device("meta"):
        model = Detector()
    del model.roi_head
    model.decode_head = nn.Conv2d(3, 7, 1)
    assert count_dense_model(model, (64, 48)) == 16 * 12 * (3 * 3 * 16 + 3 * 7)


FAST = ("mask_rcnn_convnext_t_3x", "upernet_swin_t_512_160k")


@pytest.mark.parametrize(
    "row",
    [row if row.model in FAST else pytest.param(row, marks=pytest.mark.slow) for row in ROWS],
    ids=lambda row: row.model,
)
def test_every_row_is_within_half_a_percent(row):
    found = count_dense_row(row, ROOT / "configs")
    gflops = found["gflops"] - UNCOUNTED_PRODUCTS.get(row.model, 0.0)
    assert gflops == pytest.approx(row.gflops, rel=0.005)
    if row.params_m is not None:
        assert abs(found["params_m"] - row.params_m) < 0.51  # the paper prints whole millions


def test_every_row_of_the_tables_has_a_config():
    assert [row.table for row in ROWS] == [3] * 16 + [4] * 11
    assert all((ROOT / "configs" / row.config).is_file() for row in ROWS)
    assert len({row.model for row in ROWS}) == len(ROWS)


def test_only_and_an_unknown_name():
    assert {row.model for row in rows_named("_r50_")} == {"cascade_r50_3x"}
    with pytest.raises(UserError, match="No row of tables 3 and 4 is named 'vit'"):
        rows_named("vit")


def test_the_tool_prints_json_alone():
    (row,) = json.loads(run_apart("paper", "complexity", "--only", "cascade_r50", "--json")[0])
    assert tuple(row) == COLUMNS
    assert (row["table"], row["input_size"], row["paper_gflops"]) == (3, [1280, 800], 739)
