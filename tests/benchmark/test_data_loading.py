"""The speed of data loading: the counted images, the three stages, and the tool."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config
from torch.utils.data import DataLoader, Dataset

from convnext_dense.benchmark import data_loading
from convnext_dense.data.shapes.dataset import prepare_shapes
from convnext_dense.errors import UserError
from tests.running import run_apart

ROOT = Path(__file__).parents[2]
CONFIGS = {
    name: ROOT / f"configs/{name}_convnext_a_shapes.py"
    for name in ("detection/mask_rcnn", "segmentation/upernet")
} | {"classification": ROOT / "configs/classification/convnext_a_shapes.py"}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    """``mini/`` and a config of each task that reads it."""
    root = tmp_path_factory.mktemp("reading")
    prepare_shapes(root, train=4, val=1, cls_train=2, cls_val=1).rename(root / "mini")
    for name, path in CONFIGS.items():
        folder = "mini/cls/train" if name == "classification" else "mini"
        (root / f"{name.split('/')[0]}.py").write_text(
            f'_base_ = ["{path}"]\n'
            f'train_dataloader = dict(batch_size=2, dataset=dict(data_root="{folder}"))\n'
        )
    return root


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves by 0.05 s with every sample."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(data_loading, "perf_counter", lambda: Clock.now)
    return Clock


class Numbers(Dataset):
    def __init__(self, clock):
        self.clock = clock

    def __len__(self):
        return 6

    def __getitem__(self, index):
        self.clock.now += 0.05
        return index


def test_images_are_counted(clock):
    # a batch of 2 takes 0.1 s: 20 images/s, also at the end of an epoch
    rates = data_loading._rates(DataLoader(Numbers(clock), batch_size=2), 2, 0, 3)
    assert rates == pytest.approx([20.0] * 3)


@pytest.mark.parametrize("task", ["classification", "detection", "segmentation"])
def test_each_stage_does_its_own_part(data_root, task, monkeypatch):
    monkeypatch.setattr(data_loading, "ROUND_S", 0.0)
    seen = []
    original = data_loading.split_pipeline

    def spied(dataset):
        decode, augment = original(dataset)
        sample = augment(decode(0))
        seen.append((decode(0), sample))
        return decode, augment

    monkeypatch.setattr(data_loading, "split_pipeline", spied)
    rows = data_loading.measure(str(data_root / f"{task}.py"), str(data_root), (0,), rounds=2)
    assert [row.stage for row in rows] == ["decode", "augment", "loader"]
    assert all(row.images_per_s > 0 and row.batch_size == 2 for row in rows)
    assert rows[0].ratio == 1.0
    decoded, sample = seen[0]
    if task == "classification":
        assert decoded[0].size == (64, 64) and sample.shape == (3, 64, 64)
    else:
        assert decoded["img"].ndim == 3 and "inputs" not in decoded
        assert sample["inputs"].shape[0] == 3


@pytest.mark.slow
def test_the_tool_prints_json_alone(data_root):
    arguments = [data_root / "detection.py", "--data-root", data_root, "--workers", 1]
    rows = json.loads(run_apart("benchmark", "data", *arguments, "--rounds", 1, "--json")[0])
    assert [(row["stage"], row["workers"]) for row in rows] == [(s, 1) for s in data_loading.STAGES]
    assert all(row["quartiles"][0] > 0 for row in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(workers=(-1,)), "--workers must be at least 0"),
        (dict(batch_size=99), "make no batch of 99: lower --batch-size"),
    ],
)
def test_wrong_options_are_refused(data_root, options, message):
    with pytest.raises(UserError, match=message):
        data_loading.measure(str(data_root / "detection.py"), str(data_root), **options)


def test_a_dataset_without_stages_is_refused():
    with pytest.raises(UserError, match="of a Config cannot be separated"):
        data_loading.split_pipeline(Config())
