"""A validation split: whole groups, every class in training, the same at resume."""

import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convnext_dense.data.own.split_file import settle_split
from convnext_dense.data.own.splitting import remark_split, split_groups
from convnext_dense.errors import UserError

CLASSES = "abcdefgh"


def drawn(images: int, seed: int = 0) -> tuple[list[str], list[set[str]]]:
    """Images with classes that are each half as frequent as the one before."""
    rng = random.Random(seed)
    labels = [
        {c for i, c in enumerate(CLASSES) if rng.random() < 0.5 ** (i + 1)} for _ in range(images)
    ]
    return [f"street/{i:04}.jpg" for i in range(images)], labels


def test_classes_have_their_share_on_each_side():
    names, labels = drawn(1000)
    train, val = split_groups(names, labels, 0.2)
    assert (len(train), len(val)) == (800, 200) and set(train) | set(val) == set(names)
    chosen, every = set(val), Counter(c or "none" for one in labels for c in one or {""})
    for label, count in every.items():
        found = sum(
            name in chosen
            for name, one in zip(names, labels, strict=True)
            if (label in one) or (label == "none" and not one)
        )
        assert abs(found - 0.2 * count) <= max(1.5, 0.03 * count), label


def test_the_order_of_files_does_not_matter_and_the_seed_does():
    names, labels = drawn(200)
    first = split_groups(names, labels, 0.25, seed=3)
    assert split_groups(names[::-1], labels[::-1], 0.25, seed=3) == first
    assert split_groups(names, labels, 0.25, seed=4) != first


def test_groups_stay_together():
    names = [f"scan_{i // 9:02}/slice_{i}.png" for i in range(180)]
    labels = [{"tumour"} if i // 9 % 4 == 0 else set() for i in range(180)]
    train, val = split_groups(names, labels, 0.2, group_by=r"scan_(\d+)/")
    scans = [{name[5:7] for name in side} for side in (train, val)]
    assert scans[0].isdisjoint(scans[1]) and len(scans[1]) == 4
    assert sum(int(scan) % 4 == 0 for scan in scans[1]) == 1  # of five scans with a tumour
    whole = split_groups(names, labels, 0.2, group_by=r"scan_\d+")  # without brackets: the match
    assert len({name[5:7] for name in whole[1]}) == 4


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sets(st.sampled_from(CLASSES), max_size=3), min_size=2, max_size=30),
    st.floats(0.05, 0.95),
    st.integers(1, 6),
)
def test_both_sides_and_every_class_in_training(labels, share, group_size):
    names = [f"g{i // group_size}-{i}" for i in range(len(labels))]
    by = r"g(\d+)-"
    if len(names) <= group_size:
        with pytest.raises(UserError, match="--split needs two"):
            split_groups(names, labels, share, group_by=by)
        return
    train, val = split_groups(names, labels, share, group_by=by)
    assert train and val and sorted(train + val) == sorted(names)
    of = dict(zip(names, labels, strict=True))
    trained = set().union(*(of[name] for name in train))
    lacking = set().union(*labels) - trained
    groups = {name.split("-")[0] for name in val}
    assert not lacking or len(groups) == 1
    assert bool(lacking) == any(
        "training side" in line for line in remark_split(names, labels, val)
    )
    if group_size == 1 and not lacking:
        assert len(val) <= max(1, round(share * len(names)) + 1)


def test_a_rare_class_is_trained_and_said():
    names, labels = drawn(1000)
    labels[7] = {"unicorn"}
    train, val = split_groups(names, labels, 0.9)
    assert names[7] in train
    assert remark_split(names, labels, val) == [
        "The validation side of the split has no instance of 1 class that occurs in few images or "
        "groups: unicorn."
    ]


@pytest.mark.parametrize(
    ("names", "group_by", "words"),
    [
        (["a_1", "b"], r"_(\d)", "matches nothing in 1 of 2 names: b"),
        (["a_1", "a_2"], r"^a", "all 2 share 'a'"),
        (["a"], None, "two images at least, and there are 1"),
    ],
)
def test_refusals(names, group_by, words):
    with pytest.raises(UserError, match=words):
        split_groups(names, [set()] * len(names), 0.5, group_by=group_by)


def test_the_written_split_is_used_again(tmp_path):
    names, labels = drawn(40)
    path = tmp_path / "data/split.json"
    flags = dict(share=0.25, seed=2, group_by=None)
    made = settle_split(path, names, labels, **flags)
    written = json.loads(path.read_text())
    assert (written["train"], written["val"]) == made and written["seed"] == 2
    swapped = dict(written, train=written["val"], val=written["train"])
    path.write_text(json.dumps(swapped))
    assert settle_split(path, names, labels, **flags, resume=True) == made[::-1]
    for change, words in (
        (dict(seed=3), "--seed 2, and this command says 3"),
        (dict(share=0.5), "--split 0.25, and this command says 0.5"),
        (dict(group_by="street"), "--group-by None, and"),
    ):
        with pytest.raises(UserError, match=words):
            settle_split(path, names, labels, **{**flags, **change}, resume=True)
    with pytest.raises(UserError, match="divides other data"):
        settle_split(path, [*names[1:], "new.jpg"], labels, **flags, resume=True)
    assert settle_split(path, names, labels, **flags) == made  # a new run makes it anew
    assert settle_split(tmp_path / "no.json", names, labels, **flags, write=False) == made
    assert not (tmp_path / "no.json").exists()
