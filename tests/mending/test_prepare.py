"""Own data of a detector through the flags: mended copies, formats, splits, several processes."""

import argparse
import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from convnext_dense import atomic_files
from convnext_dense.cli.main import parse_tool
from convnext_dense.cli.shared.data_arguments import add_own_data_arguments, add_split_arguments
from convnext_dense.cli.train import read_flags
from convnext_dense.data.coco.prepare import prepare_detection
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.data.own import flags as own_data_flags
from convnext_dense.errors import UserError
from tests.mending.damages import CLASSES, damaged, sound, truth
from tests.miniature import SHAPES
from tests.running import run

DAMAGE = ("a_filler", "negatives", "text_image_ids", "windows", "no_area", "text_sizes")
TRAINING = ("train", "val", "test")


@pytest.fixture
def street(tmp_path) -> Path:
    """``images/``, and ``train.json`` and ``val.json`` with classes in another order."""
    folder = tmp_path / "my street"
    content = sound(folder / "images")
    (folder / "train.json").write_text(json.dumps(content))
    content["categories"].reverse()
    (folder / "val.json").write_text(json.dumps(content))
    return folder


def own(street, *flags, splits=TRAINING, **settings):
    """The own data of some flags as a command hands it on."""
    parser = argparse.ArgumentParser()
    add_own_data_arguments(parser)
    add_split_arguments(parser)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int)
    args = parser.parse_args([str(flag) for flag in flags])
    data = own_data_flags.from_args(args, splits)
    return replace(data, folder=street / "work/data", **settings)


def jsons(street, val=True) -> list:
    flags = ["--train-json", street / "train.json", "--images", street / "images"]
    return [*flags, "--val-json", street / "val.json"] if val else flags


def rewrite(path: Path, *names: str) -> None:
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(damaged(json.loads(path.read_text()), names)).encode()
    )


def read(source) -> dict:
    return json.loads(Path(source[1]).read_text())


def test_a_sound_file_stays_and_another_is_mended(street, capsys):
    made = prepare_detection(own(street, *jsons(street)))
    assert made.sources["train"] == (street / "images", street / "train.json")
    assert made.sources["val"] == made.sources["test"]
    assert made.sources["val"] == (street / "images", street / "work/data/val.json")
    assert truth(read(made.sources["val"])) == truth(read(made.sources["train"]))
    assert not (street / "work/data/train.json").exists()
    table = capsys.readouterr().out
    assert f"{street / 'val.json'}, mended into {street / 'work/data/val.json'}:\n" in table
    assert "  2  classes in another order: brought into that of the training  dog" in table


def test_a_config_takes_the_mended_files(street, capsys):
    before = truth(json.loads((street / "train.json").read_text()))
    rewrite(street / "train.json", *DAMAGE)
    cfg = load_fitted_config(SHAPES, own_data=own(street, *jsons(street)), splits=TRAINING)
    data = cfg.train_dataloader.dataset
    assert data.metainfo.classes == CLASSES == cfg.val_dataloader.dataset.metainfo.classes
    mended = Path(data.data_root, data.ann_file)
    assert mended == street / "work/data/train.json"
    assert truth(json.loads(mended.read_text())) == before
    assert capsys.readouterr().out.count("mended into") == 2  # each table once


def test_strict_refuses_all_of_it_and_writes_nothing(street):
    rewrite(street / "train.json", *DAMAGE)
    with pytest.raises(UserError) as error:
        prepare_detection(own(street, *jsons(street), "--strict"))
    for words in ("3 boxes of zeros", "ids as texts", "4 file names (D:\\data\\", "'none' (0)"):
        assert words in str(error.value)
    assert not (street / "work").exists()


def test_what_is_refused_is_the_file_of_the_user(street):
    content = json.loads((street / "train.json").read_text())
    content["annotations"][0]["bbox"][0] += 900
    (street / "train.json").write_text(json.dumps(damaged(content, DAMAGE)))
    with pytest.raises(UserError, match=f"^{street / 'train.json'}: 1 of 9 annotations have a box"):
        prepare_detection(own(street, *jsons(street)))
    assert not (street / "work").exists()


def test_a_config_that_names_a_damaged_file_is_told_the_flags(street):
    rewrite(street / "train.json", *DAMAGE)
    data = replace(own(street, *jsons(street)), folder=None)  # nothing may be written
    words = f"--train-json or --val-json, with --images {street / 'images'}, the file is mended"
    with pytest.raises(UserError, match=words):
        load_fitted_config(SHAPES, own_data=data, splits=TRAINING)


def test_other_processes_wait_for_the_first(street, monkeypatch):
    rewrite(street / "train.json", *DAMAGE)
    data = own(street, *jsons(street))
    (street / "work/data").mkdir(parents=True)
    for split in ("train", "val"):
        (street / f"work/data/{split}.json").write_text("{}")  # of an earlier start, on other data
    made = []
    second = threading.Thread(
        target=lambda: made.append(prepare_detection(replace(data, is_first=False)))
    )
    second.start()
    time.sleep(0.3)
    assert not made
    first = prepare_detection(data)
    second.join(20)
    assert made[0].sources == first.sources
    monkeypatch.setattr(atomic_files, "PATIENCE", 0)
    with pytest.raises(UserError, match="The first process has not written .*--work-dir"):
        prepare_detection(replace(data, is_first=False, folder=street / "elsewhere"))


def test_a_split_is_made_and_written_down(street, capsys):
    flags = [*jsons(street, val=False), "--split", "0.3", "--seed", "3"]
    made = prepare_detection(own(street, *flags))
    written = json.loads((street / "work/data/split.json").read_text())
    for split in TRAINING:
        side = "train" if split == "train" else "val"
        content = read(made.sources[split])
        assert sorted(image["file_name"] for image in content["images"]) == written[side]
        assert [one["name"] for one in content["categories"]] == list(CLASSES)
        assert {one["image_id"] for one in content["annotations"]} <= {
            image["id"] for image in content["images"]
        }
    assert (len(written["train"]), len(written["val"]), written["seed"]) == (3, 1, 3)
    assert "3 and 1 images for training and validation" in capsys.readouterr().out
    other = [*flags[:-1], "4"]
    with pytest.raises(UserError, match="made with --seed 3, and this command says 4"):
        prepare_detection(own(street, *other, resume=True))
    assert prepare_detection(own(street, *flags, resume=True)).sources == made.sources
    # A resumed run that says no seed has the one it was begun with.
    unsaid = flags[: flags.index("--seed")]
    assert prepare_detection(own(street, *unsaid, resume=True)).sources == made.sources
    with pytest.raises(UserError, match="made with --split 0.3, and this command says 0.5"):
        prepare_detection(own(street, *[*unsaid[:-1], "0.5"], resume=True))


def test_a_resumed_run_takes_its_split_where_none_is_named(street):
    flags = [*jsons(street, val=False), "--split", "0.3", "--group-by", "^(.)", "--seed", "3"]
    prepare_detection(own(street, *flags))
    common = [SHAPES, "--work-dir", street / "work", "--seed", "3"]

    def read(*more):
        words = [str(word) for word in (*common, *more)]
        return read_flags(parse_tool("train", words)[1]).own_data

    resumed = read(*jsons(street, val=False), "--resume")
    assert (resumed.val_share, resumed.group_by) == (0.3, "^(.)")
    assert set(resumed.sources) == {"train"}
    assert read("--resume") is None
    both = read(*jsons(street), "--resume")
    assert both.val_share is None and "val" in both.sources
    with pytest.raises(UserError, match="--train-json needs --val-json beside it"):
        read(*jsons(street, val=False))


def yolo(folder: Path, street: Path, *splits: str) -> None:
    """The images of ``street`` as a YOLO dataset with the same boxes in each split."""
    from convnext_dense.data.images import read_image, write_image

    for split in splits:
        (folder / split / "images").mkdir(parents=True)
        (folder / split / "labels").mkdir()
        for number, name in enumerate(("a b.png", "cam1/001.png")):
            image = read_image(street / "images" / name)
            write_image(folder / split / f"images/{number}.png", image)
            (folder / split / f"labels/{number}.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    listed = "".join(f"{split}: {split}/images\n" for split in splits)
    (folder / "data.yaml").write_text(f"{listed}names: [car, dog]\n")


def test_other_formats_are_converted(street, tmp_path):
    yolo(tmp_path / "yolo", street, "train", "val")
    made = prepare_detection(own(street, "--train-data", tmp_path / "yolo/data.yaml"))
    assert made.sources["train"] == (
        tmp_path / "yolo/train/images", street / "work/data/train.json"
    )  # fmt: skip
    content = read(made.sources["val"])
    assert sorted(image["file_name"] for image in content["images"]) == ["0.png", "1.png"]
    assert content["annotations"][0]["bbox"] == [22.5, 10, 15, 20]
    assert made.sources["val"][0] == tmp_path / "yolo/val/images"


def test_without_a_validation_split_both_remedies_are_named(street, tmp_path):
    yolo(tmp_path / "yolo", street, "train")
    for path in (tmp_path / "yolo/data.yaml", street / "train.json"):
        flags = ["--train-data", path]
        with pytest.raises(UserError, match=r"--val-data, or .* --split 0\.2"):
            prepare_detection(own(street, *flags))
        made = prepare_detection(own(street, *flags, "--split", "0.5"))
        assert read(made.sources["train"])["images"] and read(made.sources["val"])["images"]


def test_a_sound_coco_file_by_train_data_stays_too(street):
    flags = ["--train-data", street / "train.json", "--val-data", street / "train.json"]
    made = prepare_detection(own(street, *flags))
    assert made.sources["train"] == (street / "images", street / "train.json")


@pytest.mark.parametrize(
    "flags",
    [["--palette", "train.json"], ["--train-list", "train.json"], ["--classes", "val.json"]],
)
def test_flags_of_segmentation_are_refused(street, flags):
    flags = [flags[0], street / flags[1], "--train-data", street / "train.json"]
    with pytest.raises(UserError, match=f"^{flags[0]}.* belongs? to segmentation"):
        prepare_detection(own(street, *flags))


@pytest.mark.slow
def test_commands_train_resume_and_write_results_for_a_server(street):
    """Damaged data is trained on by the commands; a file without annotations gets results."""
    rewrite(street / "train.json", *DAMAGE)
    small = ["--cfg-options", "train_dataloader.num_workers=0", "val_dataloader.num_workers=0"]
    small += ["train_dataloader.persistent_workers=False", "train_dataloader.batch_size=2"]
    small += ["val_dataloader.persistent_workers=False", "model.test_cfg.rcnn.max_per_img=3"]
    flags = [SHAPES, *jsons(street, val=False), "--split", "0.3", "--work-dir", street / "run"]
    said = run("train", *flags, "--max-iters", 1, *small)
    assert "mended into" in said and (street / "run/data/split.json").is_file()
    said = run("train", *flags, "--max-iters", 2, "--resume", "--seed", "9", *small, code=2)
    assert "--seed 0, and this command says 9" in said
    run("train", *flags, "--max-iters", 2, "--resume", *small)
    server = damaged(json.loads((street / "val.json").read_text()), DAMAGE)
    del server["annotations"]
    (street / "server.json").write_text(json.dumps(server))
    said = run(
        "test", SHAPES, street / "run/iter_2.pth", "--val-json", street / "server.json",
        "--images", street / "images", "--work-dir", street / "test", "--out", street / "out.json",
        "--cfg-options", "test_dataloader.num_workers=0", "model.test_cfg.rcnn.max_per_img=3",
        "model.test_cfg.rcnn.score_thr=0.0", "test_dataloader.persistent_workers=False",
    )  # fmt: skip
    assert "has no annotations, as that of a test server" in said and "mAP" not in said
    results = json.loads((street / "out.json").read_text())
    assert {one["category_id"] for one in results} <= {4, 7, 10} and results
    assert {one["image_id"] for one in results} <= {10, 20, 30, 40}
    assert set(results[0]) == {"image_id", "category_id", "bbox", "score", "segmentation"}


def test_masks_are_left_out_by_a_flag(street, capsys):
    content = json.loads((street / "train.json").read_text())
    del content["annotations"][0]["segmentation"]
    (street / "train.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="have no segmentation .* train on boxes alone: --boxes"):
        prepare_detection(own(street, *jsons(street)))
    made = prepare_detection(own(street, *jsons(street), "--boxes"))
    assert "masks: left out by --boxes" in capsys.readouterr().out
    written = read(made.sources["train"])
    assert written["annotations"] == [
        {key: value for key, value in one.items() if key != "segmentation"}
        for one in content["annotations"]
    ]
    assert not any("segmentation" in one for one in read(made.sources["val"])["annotations"])
    cfg = load_fitted_config(SHAPES, own_data=own(street, *jsons(street), "--boxes"))
    assert "mask_head" not in cfg.model.roi_head


def test_a_share_of_data_that_have_a_validation_split_is_refused(street, tmp_path):
    yolo(tmp_path / "yolo", street, "train", "val")
    flags = ["--train-data", tmp_path / "yolo", "--split", "0.3"]
    with pytest.raises(UserError, match="yolo has a validation split of its own: leave out --spl"):
        prepare_detection(own(street, *flags))
    flags[1] = tmp_path / "yolo/train"
    assert prepare_detection(own(street, *flags)).sources.keys() == set(TRAINING)
