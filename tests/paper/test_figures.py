"""The paper's figures in the docstrings of the configs: all are read, and as they are printed."""

import re

import pytest

from convnext_dense.config.names import shipped_configs
from convnext_dense.config.shipped import CONFIGS
from convnext_dense.paper.tables.dense_rows import ROWS
from convnext_dense.paper.tables.figures import find_config, paper_figures


@pytest.mark.parametrize(
    "name, expected",
    [
        ("cascade_convnext_t_3x", {"bbox_mAP": 50.4, "segm_mAP": 43.7}),
        ("upernet_convnext_b_512_160k", {"mIoU": 49.1, "mIoU of several scales": 49.9}),
        ("upernet_swin_t_512_160k", {"mIoU of several scales": 45.8}),
        ("convnext_t_in1k_300e", {"top1": 82.1}),
        ("convnext_xl_in22k_ft1k_384_30e", {"top1_ema": 87.8}),
        ("resnet200_00_resnet", {"top1": 78.2}),
        ("resnet50_07_move_up_depthwise_conv", {"top1": 79.92}),  # +- 0.08
        ("convnext_b_in22k_90e", {}),  # stated after fine-tuning, not of this run
        ("mask_rcnn_convnext_t_1x", {}),
        ("convnext_a_shapes", {}),
    ],
)
def test_figures_of_a_config(name, expected):
    found = paper_figures(find_config(name, CONFIGS))
    assert found.figures == expected
    assert found.text.startswith("Paper") and "Ours" not in found.text


def test_every_statement_with_a_table_has_figures():
    read = 0
    for config in shipped_configs().values():
        found = paper_figures(config)
        if found and "(table" in found.text and "after fine-tuning" not in found.text:
            assert found.figures, config
            read += 1
    assert read > 40
    assert all(paper_figures(find_config(row.model, CONFIGS)).figures for row in ROWS)


def test_configs_are_found_in_sub_folders_too():
    for name, path in shipped_configs().items():
        assert find_config(name, CONFIGS) == path


def test_unknown_configs():
    assert find_config("nothing", CONFIGS) is None
    assert find_config("runtime", CONFIGS) is None  # a part of others
    assert paper_figures(CONFIGS / "detection/_base_/runtime.py") is None


def test_the_readme_repeats_them():
    """``box / mask`` of detectors, ``one scale / several`` of segmentors."""
    text = (CONFIGS.parent / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([\d.]+) / ([\d.]+) \|$", text, re.MULTILINE)
    assert len(rows) == 7 + 6
    for name, *printed in rows:
        known = paper_figures(find_config(name, CONFIGS)).figures
        keys = (
            ("bbox_mAP", "segm_mAP") if "bbox_mAP" in known else ("mIoU", "mIoU of several scales")
        )
        assert [float(figure) for figure in printed] == [known[key] for key in keys], name
