"""Lists, splits and files of pairs: which images are used, written down and read again."""

import json
import shutil

import numpy as np
import pytest

from convnext_dense.data.fit import load_fitted_config
from convnext_dense.errors import UserError
from convnext_dense.preflight.shared_images import remark_shared
from tests.layouts.drawn import classes_of, load, loaded, save, save_image, scene

NAMES = ("background", "road", "house", "tree")


@pytest.fixture
def pile(tmp_path):
    """Twelve pairs in one undivided pile, in sub-folders of four drives."""
    root = tmp_path / "pile"
    for number in range(12):
        name = f"drive{number % 4}/frame_{number:02}"
        save_image(root / f"images/{name}.jpg")
        save(root / f"labels/{name}_L.png", scene(number))
    (root / "classes.txt").write_text("\n".join(NAMES))
    return root


def names_of(cfg, split) -> set[str]:
    return {name.removesuffix(".jpg") for name in loaded(cfg, split)}


def write_lists(folder, train, val) -> list:
    for split, lines in (("train", train), ("val", val)):
        (folder / f"{split}.txt").write_text("# names\n\n" + "\n".join(lines) + "\n")
    return ["--train-list", folder / "train.txt", "--val-list", folder / "val.txt"]


WAYS = {
    "names": "frame_{:02}",
    "with endings": "frame_{:02}.jpg",
    "with folders": "drive{d}/frame_{:02}",
    "from the root": "images/drive{d}/frame_{:02}.jpg",
    "backslashes": "drive{d}\\frame_{:02}.jpg",
    "pairs": "images/drive{d}/frame_{:02}.jpg labels/drive{d}/frame_{:02}_L.png",
    "pairs in a csv": "drive{d}/frame_{:02}.jpg,drive{d}/frame_{:02}_L.png",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", ["data", "folders"])
def test_lists_in_every_way_of_writing(pile, tmp_path, way, source):
    lines = [WAYS[way].format(n, n, d=n % 4) for n in range(12)]
    lists = write_lists(tmp_path, lines[:7], lines[8:])  # one is in neither
    where = ["--train-data", pile]
    if source == "folders":
        where = ["--images", pile / "images", "--labels", pile / "labels"]
    cfg = load(tmp_path / "w", *where, *lists)
    assert names_of(cfg, "train") == {f"frame_{n:02}" for n in range(7)}
    assert names_of(cfg, "val") == {f"frame_{n:02}" for n in range(8, 12)}
    np.testing.assert_array_equal(loaded(cfg, "val")["frame_09.jpg"], scene(9))
    assert classes_of(cfg) == NAMES


def test_a_label_of_a_list_wins(pile, tmp_path):
    save(tmp_path / "corrected.png", scene(99))
    lists = write_lists(tmp_path, ["frame_00.jpg corrected.png"], ["frame_01"])
    found = loaded(load(tmp_path / "w", "--train-data", pile, *lists))
    np.testing.assert_array_equal(found["frame_00.jpg"], scene(99))


def test_lists_take_labelled_images_out_of_others(pile, tmp_path):
    (pile / "labels/drive3/frame_11_L.png").unlink()
    lists = write_lists(tmp_path, ["frame_00"], ["frame_01"])
    assert names_of(load(tmp_path / "w", "--train-data", pile, *lists), "train") == {"frame_00"}
    lists = write_lists(tmp_path, ["frame_00", "frame_11", "frame_99"], ["frame_01"])
    with pytest.raises(
        UserError, match=r"2 of 3 lines of .*train.txt name no .*frame_11, frame_99"
    ):
        load(tmp_path / "w", "--train-data", pile, *lists)


def test_images_in_both_splits_are_said(pile, tmp_path):
    lists = write_lists(tmp_path, ["frame_00", "frame_01"], ["frame_01", "frame_02"])
    (remark,) = remark_shared(load(tmp_path / "w", "--train-data", pile, *lists))
    assert "1 of 2 validation images are training images" in remark and "frame_01" in remark


def test_a_list_of_one_split_says_nothing_of_the_other(tmp_path):
    root = tmp_path / "d"
    for split in ("train", "val"):
        for number in range(3):
            save_image(root / f"images/{split}/{number}.jpg")
            save(root / f"labels/{split}/{number}.png", scene(number))
    (root / "classes.txt").write_text("\n".join(NAMES))
    (root / "labels/train/2.png").unlink()
    lists = write_lists(tmp_path, ["train/0"], ["val/1"])
    with pytest.raises(UserError, match=r"1 images of .*train have no label: 2.jpg.*--train-list"):
        load(tmp_path / "w", "--train-data", root, *lists[2:])
    cfg = load(tmp_path / "w", "--train-data", root, *lists[:2])
    assert (names_of(cfg, "train"), names_of(cfg, "val")) == ({"0"}, {"0", "1", "2"})


def test_labels_without_image_are_said(pile, tmp_path, capsys):
    save(pile / "labels/drive0/lonely_L.png", scene(0))
    load(tmp_path / "w", "--train-data", pile, "--split", 0.25)
    assert "1 label files of" in (out := capsys.readouterr().out) and "drive0/lonely_L.png" in out


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "names no image: it needs one name a line"),
        (["frame_00", "frame_00"], "names 'frame_00' twice"),
        (["frame_00.jpg nowhere.png"], "names the label nowhere.png, which is not beside"),
    ],
)
def test_wrong_lists(pile, tmp_path, lines, message):
    lists = write_lists(tmp_path, lines, ["frame_01"])
    with pytest.raises(UserError, match=message):
        load(tmp_path / "w", "--train-data", pile, *lists)


def test_a_name_of_two_images_needs_its_folder(pile, tmp_path):
    for kind, end in (("images", ".jpg"), ("labels", "_L.png")):
        source = pile / f"{kind}/drive0/frame_00{end}"
        shutil.copy(source, pile / f"{kind}/drive1/frame_00{end}")
    lists = write_lists(tmp_path, ["frame_00"], ["frame_01"])
    with pytest.raises(UserError, match="'frame_00', which may be .*: write its folder too"):
        load(tmp_path / "w", "--train-data", pile, *lists)


def test_one_folder_needs_both_lists(pile, tmp_path):
    lists = write_lists(tmp_path, ["frame_00"], ["frame_01"])
    folders = ["--images", pile / "images", "--labels", pile / "labels"]
    with pytest.raises(UserError, match="--val-list is missing: of one folder"):
        load(tmp_path / "w", *folders, *lists[:2])
    # a test needs its own list alone
    cfg = load(tmp_path / "w", *folders, *lists[2:], splits=("test",))
    assert names_of(cfg, "test") == {"frame_01"}


def test_a_split_by_groups_is_written_and_kept(pile, tmp_path):
    flags = ["--train-data", pile, "--split", 0.25, "--group-by", r"(drive\d)"]
    cfg = load(tmp_path / "w", *flags)
    train, val = names_of(cfg, "train"), names_of(cfg, "val")
    assert len(val) == 3 and len({int(name[-2:]) % 4 for name in val}) == 1
    assert train | val == {f"frame_{n:02}" for n in range(12)} and not train & val
    assert names_of(cfg, "test") == val
    written = json.loads((tmp_path / "w/split.json").read_text())
    assert {name[-6:-4] for name in written["val"]} == {name[-2:] for name in val}
    again = load(tmp_path / "w", *flags, resume=True)
    assert names_of(again, "val") == val
    with pytest.raises(UserError, match="was made with --split 0.25, and this command says 0.5"):
        load(tmp_path / "w", *flags[:3], 0.5, *flags[4:], resume=True)


def test_a_split_is_stratified_by_the_classes_of_the_labels(tmp_path):
    """A class that five of twenty images show is on both sides."""
    root = tmp_path / "rare"
    for number in range(20):
        labels = np.zeros((30, 40), np.uint8)
        labels[:9] = 3 if number in (4, 8, 11, 15, 18) else 1 + number % 2
        save_image(root / f"images/{number:02}.jpg")
        save(root / f"labels/{number:02}.png", labels)
    (root / "classes.txt").write_text("\n".join(NAMES))
    cfg = load(tmp_path / "w", "--train-data", root, "--split", 0.2)
    for split in ("train", "val"):
        shown = set(np.unique(np.stack(list(loaded(cfg, split).values()))).tolist())
        assert shown == {0, 1, 2, 3}, split


def test_the_resolved_config_reads_the_same_pairs_from_anywhere(pile, tmp_path, monkeypatch):
    monkeypatch.chdir(pile)
    lists = write_lists(tmp_path, ["frame_00", "frame_02"], ["frame_01"])
    cfg = load(tmp_path / "w", "--train-data", ".", *lists)
    cfg.dump(tmp_path / "resolved.py")
    monkeypatch.chdir("/")
    again = load_fitted_config(tmp_path / "resolved.py")
    assert again.train_dataloader == cfg.train_dataloader
    np.testing.assert_array_equal(loaded(again)["frame_02.jpg"], scene(2))
    (pile / "labels/drive2/frame_02_L.png").unlink()
    with pytest.raises(UserError, match="1 of 4 files that .*train_pairs.json names are not in"):
        load_fitted_config(tmp_path / "resolved.py")


def test_folders_of_one_ending_stay_folders(tmp_path):
    for split in ("train", "val"):
        save_image(tmp_path / f"d/images/{split}/0.jpg")
        save(tmp_path / f"d/labels/{split}/0_L.png", scene(0))
    (tmp_path / "d/classes.txt").write_text("\n".join(NAMES))
    cfg = load(tmp_path / "w", "--train-data", tmp_path / "d")
    data = cfg.train_dataloader.dataset
    assert (data.type, data.seg_map_suffix) == ("BaseSegDataset", "_L.png")
    assert data.data_prefix == dict(img_path="images/train", seg_map_path="labels/train")
    assert not (tmp_path / "w").exists()
