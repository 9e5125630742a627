"""The cost of every step against the paper's architecture, worked out by hand beside the tables."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convnext_dense.errors import UserError
from convnext_dense.models.roadmap import REGIMES, ConvNeXtRoadmapClassifier
from convnext_dense.paper.roadmap import (
    COLUMNS,
    build_on_meta,
    config_name,
    count_multiply_adds,
    measure,
    regimes_named,
)

# What the convolutions and linear layers of each row come to. The tables print the same, rounded,
# but for the last two rows of table 10 (docs/roadmap.md).
GFLOPS = {
    "resnet50": (4.089, 4.089, 4.526, 4.418, 2.350, 5.268, 4.644, 4.065, 4.097, 4.146, 4.210,
                 4.291, 4.146, 4.146, 4.146, 4.146, 4.456),
    "resnet200": (15.007, 15.007, 14.518, 14.376, 7.234, 16.764, 15.679, 14.627, 14.699, 14.807,
                  14.950, 15.130, 14.807, 14.807, 14.807, 14.807, 15.355),
}  # fmt: skip
MISPRINTED = {("resnet50", "layer_norm"): 0.314, ("resnet50", "separate_downsampling"): 0.034}


@pytest.mark.parametrize("regime", GFLOPS)
def test_every_step_costs_what_the_paper_says(regime):
    rows = measure(regime)
    assert [row["gflops"] for row in rows] == pytest.approx(GFLOPS[regime], abs=0.0006)
    for row in rows:
        excess = MISPRINTED.get((regime, row["step"]), 0.0)
        assert row["paper_gflops"] - excess == pytest.approx(row["gflops"], abs=0.0051), row["step"]
        assert tuple(row) == COLUMNS


def test_separate_downsampling_by_hand():
    """Three transitions of C channels onto r x r positions, and the blocks' first convolutions."""
    for regime, width in (("resnet50", 96), ("resnet200", 128)):
        before, after = (
            count_multiply_adds(build_on_meta(regime, step))
            for step in ("layer_norm", "separate_downsampling")
        )
        expected = 0
        for i in (1, 2, 3):
            c, r = width * 2**i, 56 // 2**i
            expected -= r * r * (49 * c // 2 + c // 2 * 4 * c + c // 2 * c)  # with the shortcut
            expected += r * r * (4 * (c // 2) * c + 49 * c + c * 4 * c)
        assert after - before == expected


@pytest.mark.parametrize("step", ["resnet", "width", "separate_downsampling"])
def test_counts_as_torch_counts(step):
    switches = dict(stage_ratio=(1, 1, 2, 1), width=8)
    counter = FlopCounterMode(display=False)
    with torch.device("meta"):
        network = ConvNeXtRoadmapClassifier(1000, "resnet50", step, switches).eval()
        with counter, torch.no_grad():
            network(torch.empty(1, 3, 224, 224))
    assert count_multiply_adds(network) == counter.get_total_flops() // 2


def test_a_layer_is_counted_by_hand():
    with torch.device("meta"):
        conv = nn.Conv2d(3, 6, 3, stride=4, groups=3)
        network = nn.Sequential(conv, nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(18816, 7))
    assert count_multiply_adds(network) == 6 * 56 * 56 * 9 + 7 * 18816


def test_own_results_stand_beside_the_papers():
    results = {"resnet50_12_gelu": 80.1}
    rows = {row["step"]: row["accuracy"] for row in measure("resnet50", results)}
    assert rows.pop("gelu") == 80.1 and set(rows.values()) == {None}
    assert config_name("resnet200", "resnet") == "resnet200_00_resnet"


def test_the_tables_are_whole():
    assert [regime.table for regime in REGIMES.values()] == [10, 11]
    names = [[step.name for step in regime.steps] for regime in REGIMES.values()]
    assert names[0] == names[1] and len(set(names[0])) == 17
    assert regimes_named(None) == ["resnet50", "resnet200"]
    with pytest.raises(UserError, match="no regime 'resnet201'; the nearest is 'resnet200'"):
        regimes_named("resnet201")
