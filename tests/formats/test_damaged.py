"""Damaged files end in a sentence or are read: never in another error."""

import copy
import json
import random
from xml.etree import ElementTree

import pytest

from convnext_dense.data.formats.reading import read
from convnext_dense.errors import UserError
from tests.formats import test_cvat, test_labelme, test_labelstudio, test_voc, test_yolo

HOSTILE = (None, -1, 0, 10**30, float("nan"), True, "", "x", "1", [], {}, [[]], [None], {"a": 1})
WORDS = ("", "x", "-1", "nan", "1e400", "0", "1,2", "\0", "99999999999")
TRIES = 150


def places(node, path=()):
    """Every place in a tree of lists and dictionaries."""
    for key in node if isinstance(node, dict) else range(len(node)):
        yield (*path, key)
        if isinstance(node[key], dict | list):
            yield from places(node[key], (*path, key))


def mutate_json(content, rng):
    changed = copy.deepcopy(content)
    *way, last = rng.choice(list(places(changed)))
    node = changed
    for key in way:
        node = node[key]
    if rng.random() < 0.2:
        del node[last]
    else:
        node[last] = rng.choice(HOSTILE)
    return json.dumps(changed)


def mutate_xml(text, rng):
    root = ElementTree.fromstring(text)
    element = rng.choice(list(root.iter()))
    if element.attrib and rng.random() < 0.7:
        key = rng.choice(sorted(element.attrib))
        if rng.random() < 0.3:
            del element.attrib[key]
        else:
            element.set(key, rng.choice(WORDS[:-2]))
    elif rng.random() < 0.5 and len(element):
        element.remove(rng.choice(list(element)))
    else:
        element.text = rng.choice(WORDS[:-2])
    return ElementTree.tostring(root, encoding="unicode")


def mutate_words(text, rng):
    start = rng.randrange(len(text))
    return (
        text[:start]
        + rng.choice((*WORDS, "\n", ": ", "[", "- "))
        + text[start + rng.randrange(4) :]
    )


def check(file, mutate, path, name):
    whole = file.read_text()
    read(path, "train", name)
    refused = 0
    for seed in range(TRIES):
        file.write_text(mutate(whole, random.Random(seed)))
        try:
            read(path, "train", name)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused  # some of them are damaged


@pytest.mark.filterwarnings("error")
def test_label_studio(tmp_path):
    brush = test_labelstudio.result(
        "brushlabels", rle=test_labelstudio.pack([0] * 10_000 + [255] * 10_000)
    )
    polygon = test_labelstudio.result("polygonlabels", points=[[1, 2], [11, 2], [11, 12]])
    tasks = test_labelstudio.task(test_labelstudio.BOX, polygon)
    test_labelstudio.dataset(tmp_path, tasks, test_labelstudio.task(brush))
    file = tmp_path / "export.json"
    check(file, lambda t, rng: mutate_json(json.loads(t), rng), tmp_path, "labelstudio")


@pytest.mark.filterwarnings("error")
def test_labelme_files(tmp_path):
    shapes = [
        test_labelme.shape("rectangle", [[1, 2], [3, 4]]),
        test_labelme.shape("polygon", [[1, 2], [3, 4], [5, 9]]),
        test_labelme.shape("circle", [[10, 20], [13, 24]]),
    ]
    folder = test_labelme.dataset(tmp_path, *shapes, imageWidth=100, imageHeight=50)
    check(folder / "a.json", lambda t, rng: mutate_json(json.loads(t), rng), folder, "labelme")


@pytest.mark.filterwarnings("error")
def test_cvat_files(tmp_path):
    shapes = (
        f"<box {test_cvat.BOX}/>",
        '<polygon label="dog" points="1,2;11.5,2;11.5,12"/>',
        '<ellipse label="dog" cx="50" cy="25" rx="10" ry="5" rotation="90"/>',
        '<mask label="dog" left="10" top="20" width="3" height="2" rle="1, 2, 2, 1"/>',
    )
    test_cvat.dataset(tmp_path, test_cvat.image(*shapes))
    check(tmp_path / "annotations.xml", mutate_xml, tmp_path, "cvat")


@pytest.mark.filterwarnings("error")
def test_voc_files(tmp_path):
    text = test_voc.xml(("dog", 1, 1, 5, 5), ("hard", 1, 2, 3, 4))
    test_voc.dataset(tmp_path, text)
    check(tmp_path / "Annotations/a.xml", mutate_xml, tmp_path, "voc")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["data.yaml", "train/labels/a.txt"])
def test_yolo_files(tmp_path, name):
    test_yolo.dataset(tmp_path, "0 .5 .5 .2 .4\n1 .1 .1 .3 .1 .3 .3\n")
    check(tmp_path / name, mutate_words, tmp_path, "yolo")
