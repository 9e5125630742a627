"""Files that name the classes of colours and values, in the forms that tools write."""

import json

import pytest

from convnext_dense.data.layouts.class_files import read_class_file
from convnext_dense.errors import UserError

COLOURS = {(0, 0, 0): "sky", (128, 64, 128): "old road", (255, 0, 9): None}
FORMS = {
    "plain.csv": "sky,0,0,0\nold road,128,64,128\nignore,255,0,9\n",
    "header.csv": "name,r,g,b\nsky,0,0,0\nold road,128,64,128\nvoid,255,0,9\n",
    "columns.csv": "Red;Green;Blue;Class\n0;0;0;sky\n128;64;128;old road\n255;0;9;Ignore\n",
    "class_dict.csv": "name, r, g, b\nsky, 0, 0, 0\nold road, 128, 64, 128\nVoid, 255, 0, 9\n",
    "hex.csv": "sky,#000000\nold road,#804080\nunlabeled,#FF0009\n",
    "hex_header.csv": "hex,class\n000000,sky\n804080,old road\nff0009,ignore\n",
    "colour_first.csv": "0,0,0,sky\n128,64,128,old road\n255,0,9,ignore\n",
    "index.csv": "0,sky,0,0,0\n1,old road,128,64,128\n2,ignore,255,0,9\n",
    "tabs.tsv": "sky\t0\t0\t0\nold road\t128\t64\t128\nignore\t255\t0\t9\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nsky:0,0,0::\nold road:128,64,128::\n"
    "ignore:255,0,9::\n",
    "config.json": json.dumps(
        {
            "labels": [
                {"name": "sky", "color": [0, 0, 0]},
                {"name": "old road", "color": [128, 64, 128]},
                {"name": "ignore", "color": [255, 0, 9]},
            ]
        }
    ),
    "list.json": json.dumps(
        [
            {"name": "sky", "color": "#000000"},
            {"name": "old road", "color": [128, 64, 128]},
            {"name": "ignore", "color": [255, 0, 9, 255]},
        ]
    ),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_every_form_names_the_same_colours(tmp_path, name, encoding):
    (tmp_path / name).write_bytes(FORMS[name].replace("\n", "\r\n").encode(encoding))
    found = read_class_file(tmp_path / name)
    assert found.colours == COLOURS and found.classes == ("sky", "old road")
    assert found.values is None


@pytest.mark.parametrize(
    "text", ["Pixel Value, Class\n0, background\n3, road\n", "background,0\nroad,3\n"]
)
def test_values_of_pixels(tmp_path, text):
    (tmp_path / "_classes.csv").write_text(text)
    found = read_class_file(tmp_path / "_classes.csv")
    assert found.values == {0: "background", 3: "road"} and found.colours is None


def test_a_class_of_several_colours_and_a_name_with_a_colon(tmp_path):
    (tmp_path / "labelmap.txt").write_text("car:1,2,3::\nlane: left:4,5,6::\ncar:7,8,9::\n")
    found = read_class_file(tmp_path / "labelmap.txt")
    assert found.classes == ("car", "lane: left")
    assert found.colours[1, 2, 3] == found.colours[7, 8, 9] == "car"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.csv", "", "names no class: a palette is a csv of"),
        ("p.csv", "sky,0,0,0\nroad,0,0,0\n", "gives the colour 0,0,0 to 'sky' and to 'road'"),
        ("p.csv", "sky,0,0,300\nroad,1,1,1\n", "the colour .*three numbers from 0 to 255"),
        ("p.csv", "sky,0,0\nroad,1,1\n", "holds the line 'sky,0,0'"),
        ("p.csv", "sky,0,0,0\n", "must give 2 to 255 distinct class names, got 1"),
        ("p.csv", "name,r,g,b\nsky,0,0\nroad,1,1,1\n", "holds the line 'sky,0,0'"),
        ("p.json", "{}", "no labels with name and color"),
        ("class_names.txt", "__ignore__\none\n", "must give 2 to 255 distinct class names"),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_class_file(tmp_path / name)
