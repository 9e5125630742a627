"""``model.json`` written and read, and what is said of one that cannot be read."""

import json

import pytest

from convnext_dense.errors import UserError
from convnext_dense.exported.description import FILE, VERSION, Resizing, read_description
from convnext_dense.exported.loading import load_exported
from tests.exported.descriptions import description

FULL = description(
    palette=((1, 2, 3), (4, 5, 6)),
    resizing=Resizing("short_side", (256, 256), "pillow_bicubic", (224, 224), True),
    divisor=32,
    fixed=(224, 224),
    window=((512, 512), (341, 341)),
    mask_threshold=0.4,
    threshold=0.3,
    value_range=(0.0, 3000.0),
    best_thresholds={"cat": 0.5},
    provenance={"checkpoint": "a.pth", "parity": {"rows": ()}},
)


def written(folder, made=FULL, has_graph=True, **changed):
    content = {**json.loads(made.to_json()), **changed}
    (folder / FILE).write_text(json.dumps(content))
    if has_graph:
        (folder / made.graph).write_bytes(b"a graph")
    return folder


@pytest.mark.parametrize("made", [FULL, description()])
def test_what_is_written_is_read(tmp_path, made):
    assert read_description(written(tmp_path, made)) == made


def test_entries_of_the_future_that_a_reader_may_ignore(tmp_path):
    assert read_description(written(tmp_path, hint="faster")) == FULL


@pytest.mark.parametrize(
    "changed, sentence",
    [
        (dict(format="other"), "describes no model that was exported by convnext-dense"),
        (
            dict(version=VERSION + 1),
            r"model\.json was written by a newer .*: install a newer",
        ),
        (dict(resizing=None), "cannot be read .*: export the model again"),
        (dict(resizing=dict(kind="none", turn=90)), "cannot be read .*: export the model again"),
        (dict(version="one"), "version is 'one', no whole number"),
        (dict(classes="cat"), "classes is 'cat', no list of names"),
        (dict(mean=["a", "b", "c"]), "mean is .*, no numbers"),
        (dict(outputs=["logits"]), "a model of detection has the outputs boxes, scores, labels"),
        (dict(graph=5), "cannot be read .*: export the model again"),
        (dict(graph="../model.onnx"), r"lacks \.\./model\.onnx"),
        (dict(task="dancing"), "task is 'dancing', none of"),
        (dict(target="paper"), "target is 'paper'"),
        (dict(resizing=dict(kind="crumple")), "kind is 'crumple'"),
        (dict(resizing=dict(kind="stretch", size=None)), "resizing to None"),
        (dict(resizing=dict(kind="stretch", size=[0, 0])), "resizing to .0, 0., which is no size"),
        (dict(mean=[1.0]), "mean has 1 values for 3 channels"),
        (dict(fixed=[3]), "fixed is"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, changed, sentence):
    with pytest.raises(UserError, match=sentence):
        read_description(written(tmp_path, **changed))


def test_a_missing_entry_a_missing_file_and_a_torn_one(tmp_path):
    with pytest.raises(UserError, match=r"model\.json cannot be read .*No such file"):
        read_description(tmp_path)
    written(tmp_path)
    (tmp_path / FILE).write_text(FULL.to_json()[:100])
    with pytest.raises(UserError, match=r"model\.json cannot be read .*: export the model again"):
        read_description(tmp_path)
    content = json.loads(FULL.to_json())
    del content["classes"]
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(UserError, match="it lacks classes"):
        read_description(tmp_path)
    (tmp_path / FILE).write_text("[]")
    with pytest.raises(UserError, match="cannot be read"):
        read_description(tmp_path)


def test_a_missing_graph(tmp_path):
    with pytest.raises(UserError, match=r"lacks model\.onnx, the graph .*: copy the whole folder"):
        read_description(written(tmp_path, has_graph=False))


def test_a_folder_for_tensorrt_is_not_opened_here(tmp_path):
    with pytest.raises(UserError, match=r"build_engine\.sh there; to predict here, .*--to onnx"):
        load_exported(written(tmp_path, description(target="tensorrt")))
