"""Text tables: columns as wide as their widest cell, or as their minimum width."""

from convnext_dense.text_table import format_columns


def test_columns_are_aligned():
    rows = [("class", "AP", "remark"), ("cat", "0.512", ""), ("elephant", "-", "rare")]
    assert format_columns(rows, ("<", ">7", "<")) == [
        "class          AP  remark",
        "cat         0.512",
        "elephant        -  rare",
    ]
