"""Own images with one class each: class folders at any depth, lists, Hugging Face's folders."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from convnext_dense.classification.dataset import LabelledImages
from convnext_dense.data.class_folders.layouts import read_class_names, read_labelled
from convnext_dense.data.class_folders.prepare import prepare_classification
from convnext_dense.data.own.own_data import OwnData
from convnext_dense.errors import UserError
from tests.classification.conftest import TINY, draw
from tests.running import run

SPLITS = ("train", "val", "test")


@pytest.fixture
def flat(tmp_path) -> tuple[Path, list[list[str]]]:
    """A folder of images without class folders, and rows of their names and classes."""
    source, folder = draw(tmp_path / "source", 3, classes=("ant", "bee")), tmp_path / "flat"
    folder.mkdir()
    rows = []
    for path in sorted(source.rglob("*.png")):
        rows.append([f"{path.parent.name}_{path.name}", path.parent.name])
        shutil.copy(path, folder / rows[-1][0])
    return folder, rows


def found(path: Path, table: Path | None = None) -> list[list[str]]:
    return sorted([image.path.name, image.label] for image in read_labelled(path, table))


def own(path: Path, tmp_path: Path, **others) -> OwnData:
    fields = dict(sources={"train": (None, path)}, splits=SPLITS, folder=tmp_path / "data")
    return OwnData(None, **{**fields, **others})


def written(own_data: OwnData, split: str) -> dict[str, str]:
    with open(own_data.sources[split][1], newline="", encoding="utf-8") as file:
        return {row["file_name"]: row["label"] for row in csv.DictReader(file)}


def test_nested_folders_are_named_by_their_path(tmp_path):
    draw(tmp_path / "root/animals", 2, classes=("ant", "bee"))
    draw(tmp_path / "root", 1, classes=("car",))
    draw(tmp_path / "root/.trash", 1, classes=("old",))
    labels = [image.label for image in read_labelled(tmp_path / "root")]
    assert sorted(labels) == ["animals/ant"] * 2 + ["animals/bee"] * 2 + ["car"]


@pytest.mark.parametrize("sign", [",", ";", "\t", " "])
@pytest.mark.parametrize("header", [None, ["file_name", "label"], ["label", "more", "file_name"]])
def test_a_list_gives_the_classes(flat, tmp_path, sign, header):
    folder, rows = flat
    lines = rows
    if header:
        lines = [
            header,
            *([dict(file_name=n, label=c).get(h, "x") for h in header] for n, c in rows),
        ]
    (tmp_path / "list.csv").write_text("\n".join(sign.join(line) for line in lines))
    assert found(folder, tmp_path / "list.csv") == rows


def test_names_of_a_list_may_lie_deeper_and_lack_their_ending(flat, tmp_path):
    folder, rows = flat
    folder.rename(tmp_path / "outer")
    (tmp_path / "outer").rename(folder)
    (folder / "deep").mkdir()
    for name, _ in rows:
        (folder / name).rename(folder / "deep" / name)
    (tmp_path / "list.txt").write_text("\n".join(f"{Path(n).stem} {c}" for n, c in rows))
    assert found(folder, tmp_path / "list.txt") == rows


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_hugging_faces_image_folders(flat, name):
    folder, rows = flat
    lines = ["file_name,label", *(",".join(row) for row in rows)]
    if name.endswith("jsonl"):
        lines = [json.dumps(dict(file_name=n, label=c)) for n, c in rows]
    (folder / name).write_text("\n".join(lines) + "\n")
    assert found(folder) == found(folder / name) == rows


def test_class_names_from_a_text_file_and_from_the_hub(tmp_path):
    (tmp_path / "names.txt").write_text("bee\n\n ant \n")
    assert read_class_names(tmp_path / "names.txt") == ("bee", "ant")
    id2label = {"10": "k", **{str(i): chr(97 + i) for i in range(10)}}
    (tmp_path / "config.json").write_text(json.dumps(dict(id2label=id2label)))
    assert read_class_names(tmp_path / "config.json") == tuple("abcdefghijk")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda d: (d / "x").mkdir(), "contains no images"),
        (lambda d: draw(d, 1) and (d / "cow").mkdir(), "1 class folder without images: cow"),
        (lambda d: shutil.copy(draw(d, 1) / "ant/0.png", d / "9.png"), "no class folder, such"),
        (lambda d: draw(d, 1) and draw(d / "ant", 1, ("red",)), "class folder red in it"),
        (lambda d: (d / "metadata.csv").write_text("a.png,x"), "1 of 1 images that are not in"),
        (lambda d: (d / "metadata.csv").write_text("a.png\n"), "row 1: 'a.png' is no name"),
        (lambda d: (d / "metadata.csv").write_text("\n"), "lists no images"),
        (lambda d: (d / "metadata.jsonl").write_text("{}\n"), "line 1: '{}' has no file_name"),
        (lambda d: draw(d, 1) and (d / "metadata.csv").write_text("bee/0.png,x\n" * 2), "twice"),
    ],
)  # fmt: skip
def test_what_has_no_clear_class_is_refused(tmp_path, make, words):
    folder = tmp_path / "root"
    folder.mkdir()
    make(folder)
    with pytest.raises(UserError, match=words):
        read_labelled(folder)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "ant\nant\n", "names 'ant' twice"),
        ("a.txt", "\n", "names no class"),
        ("config.json", '{"id2label": {"0": "a", "2": "b"}}', "no id2label with the numbers"),
        ("config.json", "[]", "no id2label"),
    ],
)
def test_class_names_that_are_none_are_refused(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words):
        read_class_names(tmp_path / name)


def test_numbers_of_a_list_count_the_named_classes(flat, tmp_path):
    folder, rows = flat
    numbers = {"ant": "1", "bee": "0"}
    lines = ["file_name,label", *(f"{n},{numbers[c]}" for n, c in rows)]
    (folder / "metadata.csv").write_text("\n".join(lines))
    (tmp_path / "classes.txt").write_text("bee\nant\n")
    data = own(folder, tmp_path, classes=tmp_path / "classes.txt", val_share=0.34)
    made = prepare_classification(data)
    labels = {Path(n).name: c for s in ("train", "val") for n, c in written(made, s).items()}
    assert sorted(map(list, labels.items())) == rows
    (tmp_path / "classes.txt").write_text("bee\ncat\n")
    lines = ["file_name,label", *(",".join(row) for row in rows)]
    (folder / "metadata.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match="class 'ant', which --classes does not name .* 'cat'"):
        prepare_classification(data)


def listed(folder: Path, rows: list[list[str]]) -> Path:
    (folder / "val.csv").write_text("\n".join(map(",".join, rows)))
    return folder / "val.csv"


def test_a_list_may_name_a_class_by_the_end_of_its_path(flat, tmp_path, capsys):
    folder, rows = flat
    draw(tmp_path / "train/insects", 2, classes=("ant", "bee"))
    data = own(tmp_path / "train", tmp_path, sources={
        "train": (None, tmp_path / "train"), "val": (None, folder)
    }, lists={"val": listed(tmp_path, rows)})  # fmt: skip
    made = prepare_classification(data)
    named = {Path(name).name: label for name, label in written(made, "val").items()}
    assert named == {name: f"insects/{label}" for name, label in rows}
    assert "val.csv: classes are taken by the last part of their names: ant as insects/ant" in (
        capsys.readouterr().out
    )
    for wrong, words in (
        ("wolf", r"val.csv: the class 'wolf' is none of the 2 .* \(the nearest is .*correct it"),
        ("1", r"val.csv: the classes are numbers, such as 1, .* with --classes FILE"),
    ):
        listed(tmp_path, [[rows[0][0], wrong]])
        with pytest.raises(UserError, match=words):
            prepare_classification(data)
    draw(tmp_path / "train/others", 2, classes=("ant",))
    listed(tmp_path, rows)
    with pytest.raises(UserError, match="'ant' may be insects/ant or others/ant"):
        prepare_classification(data)


def test_equal_folders_are_told_and_made_one_by_the_names_of_classes(tmp_path, capsys):
    for year in (2020, 2021):
        draw(tmp_path / f"root/{year}", 3, classes=("ant", "bee"))
    data = own(tmp_path / "root", tmp_path, val_share=0.25)
    made = prepare_classification(data)
    assert len(set(written(made, "train").values())) == 4
    out = capsys.readouterr().out
    assert "folders 2020/ant and 2021/ant are two classes, though both are called ant" in out
    assert "(and 1 more names of this kind)" in out and "--classes FILE" in out
    (tmp_path / "names.txt").write_text("bee\nant\n")
    data = replace(data, classes=tmp_path / "names.txt", folder=tmp_path / "other")
    made = prepare_classification(data)
    assert set(written(made, "train").values()) == {"ant", "bee"}
    assert "two classes" not in capsys.readouterr().out
    (tmp_path / "names.txt").write_text("bee\nant\ncow\n")
    with pytest.raises(UserError, match="no image of 1 of the 3 classes of --classes, .*'cow'"):
        prepare_classification(data)


def test_a_split_keeps_groups_together_and_stays_at_a_resume(tmp_path):
    root = draw(tmp_path / "root", 8, classes=("ant", "bee"))
    data = own(root, tmp_path, val_share=0.25, seed=3, group_by=r"(\w+/\d)")
    made = prepare_classification(data)
    train, val = (written(made, split) for split in ("train", "val"))
    assert len(train) == 12 and len(val) == 4 and not set(train) & set(val)
    assert set(train.values()) == set(val.values()) == {"ant", "bee"}
    again = prepare_classification(replace(data, resume=True))
    assert written(again, "val") == val == written(made, "test")
    with pytest.raises(UserError, match="--seed 3, and this command says 4"):
        prepare_classification(replace(data, resume=True, seed=4))


@pytest.mark.parametrize("name", ["val", "valid", "test"])
def test_folders_of_splits_are_found(tmp_path, name):
    draw(tmp_path / "root/train", 3)
    draw(tmp_path / f"root/{name}", 2)
    made = prepare_classification(own(tmp_path / "root", tmp_path))
    assert [len(written(made, split)) for split in SPLITS] == [9, 6, 6]


def test_data_without_validation_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"name the validation data with --val-data, or .* --split"):
        prepare_classification(own(draw(tmp_path / "root", 2), tmp_path))


def test_the_dataset_reads_what_was_written(tmp_path):
    draw(tmp_path / "root/train", 2)
    draw(tmp_path / "root/val", 1)
    made = prepare_classification(own(tmp_path / "root", tmp_path))
    table = str(made.sources["train"][1])
    transform = dict(type="TestTransform", size=16)
    data = LabelledImages(table, "list", transform, dict(classes=("cat", "bee", "ant")))
    assert LabelledImages.find_classes(table, "list") == ("ant", "bee", "cat")
    assert data.count_labels() == [2, 2, 2]
    for index in range(len(data)):
        sample = data[index]
        assert Path(sample["path"]).parent.name == data.metainfo["classes"][sample["target"]]
    assert len(LabelledImages.some_files(table, "list", 3)) == 3
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="needs the columns file_name and label"):
        LabelledImages.find_classes(str(tmp_path / "other.csv"), "list")


@pytest.mark.slow
def test_the_command_trains_on_own_images_and_resumes(flat, tmp_path):
    folder, rows = flat
    draw(tmp_path / "train", 4, classes=("ant", "bee"))
    (tmp_path / "val.csv").write_text("\n".join(",".join(row) for row in rows))
    (tmp_path / "config.json").write_text(json.dumps(dict(id2label={0: "bee", 1: "ant"})))
    (tmp_path / "tiny.py").write_text(TINY)
    words = ("tiny.py", "--train-data", "train", "--val-data", folder, "--val-list", "val.csv",
             "--classes", "config.json", "--work-dir", "run", "--seed", 1)  # fmt: skip
    run("pretrain_cls", *words, "--max-iters", 1, cwd=tmp_path)
    run("pretrain_cls", *words, "--max-iters", 2, "--resume", cwd=tmp_path)
    figures = json.loads((tmp_path / "run/metrics.json").read_text())
    assert figures["pictures"] == len(rows) and list(figures["per_class"]) == ["bee", "ant"]
    out = run("pretrain_cls", "tiny.py", "--val-data", folder, code=2, cwd=tmp_path)
    assert "--val-data needs --train-data" in out
