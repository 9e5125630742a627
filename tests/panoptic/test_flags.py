"""Which flags name panoptic data, and which do not go with it."""

import argparse
from dataclasses import replace

import pytest

from convnext_dense.cli.flags.train import add_flags
from convnext_dense.config.config_tree import SPLITS
from convnext_dense.data.fit import load_fitted_config
from convnext_dense.data.own import flags as own_data_flags
from convnext_dense.errors import UserError
from tests.miniature import SHAPES as DETECTOR
from tests.panoptic.conftest import FPN


def own(flags, *more):
    parser = argparse.ArgumentParser()
    add_flags(parser)
    args = parser.parse_args([str(FPN), *map(str, flags), *map(str, more)])
    return own_data_flags.from_args(args, ("train", "val"))


def test_the_flags_name_the_folders(flags, rooms):
    cfg = load_fitted_config(FPN, splits=("train", "val"), own_data=own(flags))
    for split in ("train", "val"):
        dataset = cfg[f"{split}_dataloader"].dataset
        assert dataset.data_prefix.seg == str(rooms / "segments" / split)
        assert (dataset.data_root, dataset.ann_file) == (str(rooms), f"{split}.json")


@pytest.mark.parametrize(
    "more, flag",
    [
        (["--boxes"], "--boxes"),
        (["--data-format", "coco"], "--data-format"),
        (["--train-list", "train.json", "--val-list", "val.json"], "--train-list"),
    ],
)
def test_flags_of_other_tasks_are_refused(flags, rooms, monkeypatch, more, flag):
    monkeypatch.chdir(rooms)
    with pytest.raises(UserError, match=f"{flag}.* is not for panoptic data"):
        load_fitted_config(FPN, splits=("train", "val"), own_data=own(flags, *more))


def test_a_split_is_validated_and_tested_on_its_part(flags, rooms):
    """Every split of the config, so that a test of the run reads the part for validation too."""
    given = [*flags[: flags.index("--val-json")], *flags[flags.index("--val-json") + 2 :]]
    data = replace(own(given, "--split", 0.3), folder=rooms / "run", splits=SPLITS)
    cfg = load_fitted_config(FPN, splits=SPLITS, own_data=data)
    files = {split: cfg[f"{split}_dataloader"].dataset.ann_file for split in SPLITS}
    assert files["train"].endswith("train.json") and files["val"].endswith("run/val.json")
    assert files["test"] == files["val"]
    assert cfg.test_dataloader.dataset.data_root == cfg.val_dataloader.dataset.data_root


def test_data_of_another_task_is_refused(flags):
    without_labels = flags[: flags.index("--labels")]
    with pytest.raises(UserError, match="is for panoptic: .* a panoptic model all three"):
        load_fitted_config(FPN, splits=("train", "val"), own_data=own(without_labels))
    with pytest.raises(UserError, match="is for detection: a detector takes --train-json"):
        load_fitted_config(DETECTOR, splits=("train", "val"), own_data=own(flags))
