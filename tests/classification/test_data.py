"""Reading labelled images: every reader, damaged files, the order, the recipes' transforms."""

import io
import random
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from convnext_dense.classification.dataset import (
    ImageSampler,
    LabelledImages,
    collate_images,
)
from convnext_dense.classification.readers import class_names, find_classes
from convnext_dense.classification.transforms import TestTransform, TrainTransform, posterize
from convnext_dense.engine.augmentation_seeds import seeded
from convnext_dense.errors import UserError
from tests.classification.conftest import CLASSES, draw

TEST = dict(type="TestTransform", size=16)


def data_set(root, reader: str = "folder", classes=CLASSES, **kwargs) -> LabelledImages:
    options = dict(transform=TEST, metainfo=dict(classes=classes)) | kwargs
    return LabelledImages(str(root), reader, **options)


def content(data: LabelledImages) -> list[tuple[str, bytes]]:
    """Class and pixels of every image, in an order that readers share."""
    samples = [data[index] for index in range(len(data))]
    classes = data.metainfo["classes"]
    return sorted((classes[s["target"]], s["input"].numpy().tobytes()) for s in samples)


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("folder") / "train", 4)


@pytest.fixture(scope="module")
def tars(tmp_path_factory, folder):
    """One tar a class, as ImageNet comes."""
    root = tmp_path_factory.mktemp("tars")
    for name in CLASSES:
        with tarfile.open(root / f"{name}.tar", "w") as tar:
            for path in sorted((folder / name).iterdir()):
                add(tar, path.name, path.read_bytes())
    return root


@pytest.fixture
def shards(tmp_path, folder):
    """Three WebDataset shards of four images, with classes.txt."""
    paths = sorted(folder.glob("*/*.png"))
    for number in range(3):
        with tarfile.open(tmp_path / f"train-{number:04}.tar", "w") as tar:
            for path in paths[number::3]:
                key = f"{path.parent.name}_{path.stem}"
                add(tar, f"{key}.png", path.read_bytes())
                add(tar, f"{key}.cls", str(CLASSES.index(path.parent.name)).encode())
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    return tmp_path


def test_all_readers_show_the_same_pictures(folder, tars, shards):
    expected = content(data_set(folder))
    assert len(expected) == 12 and len({pixels for _, pixels in expected}) == 12
    assert content(data_set(tars, "tar")) == expected
    assert content(data_set(shards, "shards")) == expected
    for kind, root in (("folder", folder), ("tar", tars), ("shards", shards)):
        assert find_classes(kind, str(root)) == CLASSES
    # read again from the index, and without class names beside the shards
    (shards / "classes.txt").unlink()
    assert (shards / "train-0000.tar.index.npz").is_file()
    assert content(data_set(shards, "shards")) == expected


def test_pictures_are_matched_by_class_name(folder):
    data = data_set(folder, classes=("zebra", "cat", "bee", "ant"))
    assert [row[0] for row in content(data)] == [row[0] for row in content(data_set(folder))]
    assert data[0]["target"] == 3  # an ant


def test_hugging_face_data_sets(folder, tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=list(CLASSES))
    )
    paths = sorted(folder.glob("*/*.png"))
    rows = dict(
        image=[str(path) for path in paths],
        label=[CLASSES.index(path.parent.name) for path in paths],
    )
    saved = datasets.Dataset.from_dict(rows, features=features)
    saved.save_to_disk(str(tmp_path / "disk"))
    (tmp_path / "parquet").mkdir()
    saved.to_parquet(str(tmp_path / "parquet/train.parquet"))
    for name in ("disk", "parquet"):
        assert content(data_set(tmp_path / name, "hf")) == content(data_set(folder))


def test_without_the_package_one_sentence_says_so(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install datasets"):
        data_set(folder, "hf")


def test_wrong_data_is_named(folder, shards, tmp_path):
    with pytest.raises(UserError, match="unknown classes, such as 'cat'"):
        data_set(folder, classes=("ant", "bee"))
    with pytest.raises(UserError, match="contains no shards"):
        data_set(folder, "shards")
    (shards / "classes.txt").unlink()
    with pytest.raises(UserError, match="holds the label 2, but there are 2 classes"):
        data_set(shards, "shards", classes=("ant", "bee"))
    with tarfile.open(shards / "x.tar", "w") as tar:
        add(tar, "lonely.png", b"...")
    with pytest.raises(UserError, match="1 of 1 images have no .cls file, such as lonely"):
        data_set(shards, "shards")
    with pytest.raises(UserError, match="must be a list or one of imagenet-1k"):
        class_names("imagenet")


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("12", r"holds the label 12, but its classes.txt names 3 classes"),
        ("-1", r"x.tar/a.png has the label -1: labels must count from 0"),
        ("dog", r"x.tar/a.cls contains 'dog', which is not a number"),
    ],
)
def test_labels_that_are_none_are_named(shards, label, said):
    with tarfile.open(shards / "x.tar", "w") as tar:
        add(tar, "a.png", b"...")
        add(tar, "a.cls", label.encode())
    with pytest.raises(UserError, match=said):
        data_set(shards, "shards")


def test_pictures_outside_of_class_folders_are_named(tmp_path):
    root = draw(tmp_path / "train", 1)
    picture = (root / "ant/0.png").read_bytes()
    for stray in (root / "bee/cat/0.png", root / "0.png"):
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(picture)
        with pytest.raises(UserError, match=f"{stray} is not directly in a class folder"):
            data_set(root)
        stray.unlink()
    assert len(data_set(root)) == 3


def test_folders_without_pictures_are_no_classes(tmp_path):
    root = draw(tmp_path / "train", 1)
    (root / ".cache").mkdir()
    assert find_classes("folder", str(root)) == CLASSES
    (root / "zebra").mkdir()
    (root / "zebra/readme.txt").write_text("none yet")
    with pytest.raises(UserError, match="1 class folders contain no images, such as zebra"):
        find_classes("folder", str(root))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
@pytest.mark.parametrize("ending", ["jpg", "cls"])
def test_links_in_shards_are_not_followed(shards, kind, ending):
    with tarfile.open(shards / "x.tar", "w") as tar:
        entry = tarfile.TarInfo(f"../../a.{ending}")
        entry.type, entry.linkname = kind, "/etc/passwd"
        tar.addfile(entry)
    with pytest.raises(UserError, match=rf"x.tar contains \.\./\.\./a.{ending}, which is a link"):
        data_set(shards, "shards")


def test_names_in_shards_are_no_paths(folder, tmp_path):
    """Nothing is written anywhere; a shard may hold the folder it was made from."""
    picture = next((folder / "ant").iterdir()).read_bytes()
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in (".", "/", ".."):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for stem in ("/abs/a", "../../b", "./c"):
            add(tar, f"{stem}.png", picture)
            add(tar, f"{stem}.cls", b"0")
    assert len(data_set(tmp_path, "shards")) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"x.tar", "x.tar.index.npz"}


def test_an_index_that_is_a_pickle_is_made_again(shards):
    expected = content(data_set(shards, "shards"))
    for kept in shards.glob("*.npz"):
        evil = np.array([Evil()], dtype=object)
        np.savez(kept, stamp=evil, index=evil)
    assert content(data_set(shards, "shards")) == expected
    assert not Evil.obeyed


class Evil:
    """Notes when it is unpickled."""

    obeyed: list[str] = []

    def __reduce__(self):
        return Evil.obeyed.append, ("unpickled",)


@pytest.mark.parametrize("kind", ["folder", "shards"])
def test_a_file_in_the_place_of_the_folder(tmp_path, kind):
    (tmp_path / "train").write_text("")
    with pytest.raises(UserError, match="train is a file: dataset.reader='.*' reads a folder"):
        find_classes(kind, str(tmp_path / "train"))


def test_other_classes_can_be_left_out(folder):
    data = data_set(folder, classes=("ant", "bee"), only_known=True)
    assert len(data) == 8 and {row[0] for row in content(data)} == {"ant", "bee"}


def test_the_named_lists_are_imagenets():
    assert len(class_names("imagenet-1k")) == 1000 and class_names("imagenet-1k")[0] == "n01440764"
    names = class_names("imagenet-22k")
    assert len(names) == 21841 and list(names) == sorted(names)


def test_a_damaged_picture_is_replaced_in_training_and_left_out_in_a_test(tmp_path):
    root = draw(tmp_path / "d", 3)
    bad = root / "bee/1.png"
    bad.write_bytes(bad.read_bytes()[:300])
    place = 3 + 1
    train, test = data_set(root), data_set(root, test_mode=True)
    assert [path for path, _ in train[place]["unreadable"]] == [str(bad)]
    assert torch.equal(train[place]["input"], train[place + 1]["input"])
    batch = collate_images([test[index] for index in range(len(test))])
    assert len(batch["inputs"]) == len(batch["targets"]) == len(batch["paths"]) == 8
    assert [path for path, _ in batch["unreadable"]] == [str(bad)]
    assert len(collate_images([test[place]])["inputs"]) == 0
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="9 images in a row cannot be read, the first"):
        train[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_does_not_depend_on_the_workers(folder, workers):
    data = data_set(folder, transform=dict(type="TrainTransform", size=16))
    plain = DataLoader(
        data,
        batch_size=4,
        sampler=ImageSampler(data, seed=1),
        collate_fn=collate_images,
        num_workers=workers,
    )
    loader = seeded(plain, seed=1)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist()
    batches = [batch["inputs"] for batch in loader]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    items = sum(loader.batch_sampler, [])
    expected = torch.stack([data[item]["input"] for item in items])
    assert torch.equal(torch.cat(batches), expected)
    reference = ImageSampler(data, seed=1)
    order = list(reference)
    assert order == [index for index, _ in items]
    reference.set_epoch(1)
    assert sorted(reference) == list(range(12))
    assert list(reference) != order and list(reference) == list(reference)


def ranked(data, rank: int, world: int, **kwargs) -> ImageSampler:
    sampler = ImageSampler(data, seed=0, **kwargs)
    sampler.rank, sampler.world_size = rank, world
    return sampler


def test_a_test_shows_every_picture_once_in_all_processes(folder):
    data = data_set(folder, indices=11)
    shares = [list(ranked(data, rank, 3, shuffle=False)) for rank in range(3)]
    assert sorted(sum(shares, [])) == list(range(11))
    assert [len(share) for share in shares] == [4, 4, 3]


def test_an_epoch_has_whole_steps(folder):
    data = data_set(folder)
    sampler = ImageSampler(data, seed=0, step_size=5)
    assert len(sampler) == len(list(sampler)) == 10
    assert len(ImageSampler(data, seed=0, step_size=50)) == 12


def test_shards_stay_together_for_a_while(shards):
    data = data_set(shards, "shards")
    order = list(ImageSampler(data, seed=0, window=1))
    assert sorted(order) == list(range(12))
    visited = [data.groups[index] for index in order]
    assert [visited[i] for i in (0, 4, 8)] == [visited[i] for i in (3, 7, 11)]
    assert order != sorted(order)


def test_the_papers_test_crop():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 512, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    crop = picture.resize((436, 256), Image.BICUBIC).crop((106, 16, 330, 240))
    mine = TestTransform(224)(picture)
    assert mine.dtype == torch.uint8 and mine.shape == (3, 224, 224)
    assert np.array_equal(mine.numpy().transpose(1, 2, 0), np.array(crop))
    whole = np.array(picture.resize((384, 384), Image.BICUBIC))
    assert np.array_equal(TestTransform(384)(picture).numpy().transpose(1, 2, 0), whole)


def test_training_is_augmented_as_the_recipes_say():
    steps = TrainTransform(224).transform.transforms
    assert [type(step).__name__ for step in steps] == [
        "RandomResizedCropAndInterpolation",
        "RandomHorizontalFlip",
        "RandAugment",
        "MaybePILToTensor",
    ]
    policy = steps[2]
    assert policy.num_layers == 2 and {op.magnitude for op in policy.ops} == {9}
    assert {op.magnitude_std for op in policy.ops} == {0.5}
    assert "Increasing" in "".join(op.name for op in policy.ops)
    steps = TrainTransform(224, auto_augment=None).transform.transforms
    assert "ColorJitter" in [type(step).__name__ for step in steps]


@pytest.mark.parametrize("policy", ["rand-m10-n15-inc1", "v0r", "augmix-m10-w3"])
def test_the_strongest_augmentation_runs(policy):
    """At magnitude 10 posterize keeps no bits, which Pillow 13 refuses."""
    random.seed(0), np.random.seed(0)
    transform = TrainTransform(16, auto_augment=policy)
    picture = Image.fromarray(np.random.randint(0, 256, (24, 24, 3), dtype=np.uint8))
    assert all(transform(picture).shape == (3, 16, 16) for _ in range(40))


def test_no_bits_are_black():
    picture = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    assert not np.asarray(posterize(picture, 0)).any()
    assert (np.asarray(posterize(picture, 1)) == (np.asarray(picture) & 128)).all()
    assert posterize(picture, 8) is picture
