"""One reader for checks, training and evaluation: marks are passed over, encodings are named."""

import codecs
import json

import pytest
from pycocotools.coco import COCO

from convnext_dense.data.labels.fit_config import read_names
from convnext_dense.data.text_files import opening_annotation_files, read_json, read_text
from convnext_dense.errors import UserError

CONTENT = {"categories": [{"id": 1, "name": "Käse 猫"}], "images": [], "annotations": []}
TEXT = json.dumps(CONTENT, ensure_ascii=False)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_byte_order_mark_changes_nothing(tmp_path, mark):
    path = tmp_path / "a.json"
    path.write_bytes(mark + TEXT.encode())
    assert read_json(path) == CONTENT
    with opening_annotation_files():  # what trains
        assert COCO(str(path)).dataset == CONTENT
    path.write_bytes(mark + "straße\r\n\r\nweg\r\n".encode())
    assert read_names(path) == ("straße", "weg")


def test_pycocotools_is_left_as_it_was(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(codecs.BOM_UTF8 + TEXT.encode())
    with opening_annotation_files(), opening_annotation_files():
        COCO(str(path))
    with pytest.raises(json.JSONDecodeError):
        COCO(str(path))


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("utf-32-be", "UTF-32"),
    ],
)
def test_a_wide_encoding_is_named(tmp_path, encoding, name):
    path = tmp_path / "a.json"
    path.write_bytes(TEXT.encode(encoding))
    with pytest.raises(UserError, match=f"a text in {name}, .*save it as UTF-8"):
        read_json(path)


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "gb18030"])
def test_what_is_no_utf8_shows_its_place(tmp_path, encoding):
    path = tmp_path / "a.json"
    text = '{"name": "汽车"}' if encoding != "cp1252" else '{"name": "Käse"}'
    path.write_bytes(text.encode(encoding))
    with pytest.raises(UserError, match=r"not UTF-8 text: byte 1\d is 0x.*name.*save it as UTF-8"):
        read_text(path)


def test_a_list_of_names_is_no_annotation_file(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("images/0001\nimages/0002\n")
    with pytest.raises(UserError, match="no JSON: its first line is 'images/0001'.*a list of name"):
        read_json(path)
    path.write_text(TEXT[:-9])
    with pytest.raises(UserError, match="not complete JSON"):
        read_json(path)
    with pytest.raises(UserError, match="b.json cannot be read"):
        read_json(tmp_path / "b.json")
