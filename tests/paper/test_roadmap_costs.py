"""The cost of every step against the paper's architecture, worked out by hand beside the tables."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.models.roadmap.network import REGIMES, ConvNeXtRoadmapClassifier
from convnext_dense.paper.costs.counting import count_classifier
from convnext_dense.paper.roadmap.chart import SIDE_STEPS, draw_chart
from convnext_dense.paper.roadmap.costs import (
    COLUMNS,
    build_on_meta,
    config_name,
    count_steps,
    read_results,
    regimes_named,
)
from convnext_dense.paper.roadmap.drawings import differences, draw_roadmap
from convnext_dense.paper.roadmap.layers import Layer, network_parts
from tests.running import run_apart

ROOT = Path(__file__).parents[2]
# What the convolutions and linear layers of each row come to. The tables print the same, rounded,
# but for the last two rows of table 10 (docs/roadmap.md).
GFLOPS = {
    "resnet50": (4.089, 4.089, 4.526, 4.418, 2.350, 5.268, 4.644, 4.065, 4.097, 4.146, 4.210,
                 4.291, 4.146, 4.146, 4.146, 4.146, 4.456),
    "resnet200": (15.007, 15.007, 14.518, 14.376, 7.234, 16.764, 15.679, 14.627, 14.699, 14.807,
                  14.950, 15.130, 14.807, 14.807, 14.807, 14.807, 15.355),
}  # fmt: skip
MISPRINTED = {("resnet50", "layer_norm"): 0.314, ("resnet50", "separate_downsampling"): 0.034}


@pytest.mark.parametrize("regime", ["resnet50", pytest.param("resnet200", marks=pytest.mark.slow)])
def test_every_step_costs_what_the_paper_says(regime):
    rows = count_steps(regime, {"resnet50_12_gelu": 80.1})
    own = {"gelu": 80.1} if regime == "resnet50" else {}
    assert {row["step"]: row["accuracy"] for row in rows if row["accuracy"] is not None} == own
    assert [row["gflops"] for row in rows] == pytest.approx(GFLOPS[regime], abs=0.0006)
    for row in rows:
        excess = MISPRINTED.get((regime, row["step"]), 0.0)
        assert row["paper_gflops"] - excess == pytest.approx(row["gflops"], abs=0.0051), row["step"]
        assert tuple(row) == COLUMNS


def test_the_page_has_the_tables_figures():
    page = (ROOT / "docs/roadmap.md").read_text().replace("**", "")
    for i, steps in enumerate(zip(*(regime.steps for regime in REGIMES.values()), strict=True)):
        cells = [
            f"{step.accuracy:.2f} | {GFLOPS[name][i]:.3f} ({step.gflops:.2f})"
            for name, step in zip(REGIMES, steps, strict=True)
        ]
        (line,) = (line for line in page.splitlines() if line.startswith(f"| `{steps[0].name}` |"))
        assert line.endswith(f" | {' | '.join(cells)} |")
        if steps[0].name not in (*SIDE_STEPS, "kernel_size_5"):
            assert f"(images/roadmap_{steps[0].name}.png)" in page
            assert (ROOT / f"docs/images/roadmap_{steps[0].name}.png").is_file()


def test_separate_downsampling_by_hand():
    """Three transitions of C channels onto r x r positions, and the blocks' first convolutions."""
    for regime, width in (("resnet50", 96), ("resnet200", 128)):
        before, after = (
            count_classifier(build_on_meta(regime, step), 224)
            for step in ("layer_norm", "separate_downsampling")
        )
        expected = 0
        for i in (1, 2, 3):
            c, r = width * 2**i, 56 // 2**i
            expected -= r * r * (49 * c // 2 + c // 2 * 4 * c + c // 2 * c)  # with the shortcut
            expected += r * r * (4 * (c // 2) * c + 49 * c + c * 4 * c)
        assert after - before == expected


@pytest.mark.parametrize("step", ["resnet", "width", "separate_downsampling"])
def test_counts_as_outputs_times_weights(step):
    """Each output is a product of as many terms as one filter has weights."""
    switches = dict(stage_ratio=(1, 1, 2, 1), width=8)
    counts = []
    with torch.device("meta"):
        network = ConvNeXtRoadmapClassifier(1000, "resnet50", step, switches).eval()
        counted = count_classifier(network, 224)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(
                    lambda layer, _, output: counts.append(output.numel() * layer.weight[0].numel())
                )
        network(torch.empty(1, 3, 224, 224))
    assert counted == sum(counts)


def test_a_layer_is_counted_by_hand():
    with torch.device("meta"):
        conv = nn.Conv2d(3, 6, 3, stride=4, groups=3)
        network = nn.Sequential(conv, nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(18816, 7)).eval()
    assert count_classifier(network, 224) == 6 * 56 * 56 * 9 + 7 * 18816


def test_results_are_read_from_a_file(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"resnet200_01_enhanced_recipe": 81}')
    assert read_results(path) == {"resnet200_01_enhanced_recipe": 81} and read_results(None) == {}
    path.write_text('{"resnet50_enhanced_recipe": 78.8}')
    with pytest.raises(UserError, match="the nearest is 'resnet50_01_enhanced_recipe'"):
        read_results(path)
    for text, message in (("[1]", "top-1 in percent"), ("{", "cannot be read")):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_results(path)


def texts(layers: Sequence[Layer]) -> list[str]:
    return [layer.text for layer in layers]


def test_the_pictures_say_what_the_network_has():
    before = network_parts(build_on_meta("resnet50", "layer_norm"))
    after = network_parts(build_on_meta("resnet50", "separate_downsampling"))
    first = before["first block of a stage"]
    assert texts(first.branch) == [
        "d7×7, 96, / 2", "LayerNorm", "1×1, 96 → 768", "GELU", "1×1, 768 → 192", "layer scale"
    ]  # fmt: skip
    assert texts(first.shortcut) == ["1×1, 96 → 192, / 2", "LayerNorm"]
    assert not first.before and not first.after
    first = after["first block of a stage"]
    assert texts(first.before) == ["LayerNorm", "2×2, 96 → 192, / 2"] and not first.shortcut
    assert first.branch == before["block"].branch == after["block"].branch
    assert texts(after["head"].before) == ["global mean", "LayerNorm", "1×1, 768 → 1000"]
    resnet = network_parts(build_on_meta("resnet50", "resnet"))
    assert texts(resnet["stem"].before) == [
        "7×7, 3 → 64, / 2", "BatchNorm", "ReLU", "max pool 3×3, / 2"
    ]  # fmt: skip
    assert texts(resnet["block"].after) == ["ReLU"]


def test_what_a_step_changes_is_marked():
    before, after = (
        network_parts(build_on_meta("resnet50", step))["block"]
        for step in ("fewer_activations", "fewer_norms")
    )
    gone, new = differences(before, after)
    assert gone == {("branch", 3), ("branch", 6)} and not new
    assert texts([before.branch[3], before.branch[6]]) == ["BatchNorm", "BatchNorm"]


def test_the_chart_shows_own_results(tmp_path):
    pictures = []
    printed = [
        dict(index=i, step=step.name, gflops=step.gflops, paper_gflops=step.gflops,
             paper_accuracy=step.accuracy, paper_std=step.std)
        for i, step in enumerate(REGIMES["resnet50"].steps)
    ]  # fmt: skip
    for results in ({}, {"gelu": 78.0}):
        found = {"resnet50": [row | {"accuracy": results.get(row["step"])} for row in printed]}
        draw_chart(tmp_path / "chart.png", found)
        pictures.append(imread(tmp_path / "chart.png")[..., :3])
    # A star stands left of the row of gelu, the 13th of 17.
    rows, columns = (pictures[0] != pictures[1]).any(axis=2).nonzero()
    height, width = pictures[0].shape[:2]
    star = (rows > 0.65 * height) & (rows < 0.75 * height) & (columns < 0.5 * width)
    assert star.sum() > 20


@pytest.mark.slow
def test_every_step_is_drawn(tmp_path):
    found = {name: count_steps(name) for name in REGIMES}
    files = draw_roadmap(tmp_path / "new", found)
    assert [path.stem.removeprefix("roadmap_") for path in files] == [
        *(s.name for s in REGIMES["resnet50"].steps if s.name not in SIDE_STEPS),
        "roadmap",
    ]
    for path in files:
        pixels = imread(path)
        assert pixels.shape[1] > 300 and path.stat().st_size < 60_000
        assert (pixels[..., :3] < 0.9).any(axis=2).mean() > 0.03, path  # not empty


@pytest.mark.slow
def test_the_tool_prints_json_alone():
    rows = json.loads(run_apart("paper", "roadmap", "--regime", "resnet50", "--json")[0])
    assert [row["index"] for row in rows] == list(range(17))
    assert all((ROOT / "configs" / row["config"]).is_file() for row in rows)


def test_the_tables_are_whole():
    assert [regime.table for regime in REGIMES.values()] == [10, 11]
    names = [[step.name for step in regime.steps] for regime in REGIMES.values()]
    assert names[0] == names[1] and len(set(names[0])) == 17
    assert config_name("resnet200", "resnet") == "resnet200_00_resnet"
    assert regimes_named(None) == ["resnet50", "resnet200"]
    with pytest.raises(UserError, match="no regime 'resnet201'; the nearest is 'resnet200'"):
        regimes_named("resnet201")
