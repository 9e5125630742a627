"""The table of groups, its CSV file, and the curve compared with mmengine's Runner."""

import csv
import json

import pytest
import torch
from decay_models import Detector, backbone, build
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from convnext_dense.errors import UserError
from convnext_dense.optim import format_table, group_table, lr_range, lr_report, write_csv
from convnext_dense.optim.schedule_curve import POINTS, draw_curve, epoch_length, lr_curve

WARMUP = dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=3)
STEPS = dict(type="MultiStepLR", by_epoch=True, milestones=[2, 3])
TRAININGS = {
    "epochs": (dict(by_epoch=True, max_epochs=4), [WARMUP, STEPS]),
    "converted": (
        dict(by_epoch=True, max_epochs=4),
        [WARMUP, dict(type="CosineAnnealingLR", eta_min_ratio=0.1, convert_to_iter_based=True)],
    ),
    "iterations": (
        dict(by_epoch=False, max_iters=17),
        [WARMUP, dict(type="PolyRatioLR", eta_min_ratio=0.01, begin=3, by_epoch=False)],
    ),
    "constant": (dict(by_epoch=False, max_iters=5), None),
}


@pytest.fixture(scope="module")
def wrapper():
    model = Detector(backbone(frozen_stages=1))
    return build(model, custom_keys=dict(head=dict(lr_mult=2, decay_mult=0.5)))


def test_the_table_states_every_group(wrapper):
    rows = {row["group"]: row for row in group_table(wrapper)}
    assert rows["layer_6_decay_head"] == dict(
        group="layer_6_decay_head",
        parameters=1,
        num_elements=16,
        lr_scale=2.0,
        lr=2e-3,
        weight_decay=0.025,
    )
    # neck.bias (8) and norm0..3 (2 x (4 + 8 + 16 + 32)): the wrapper's own base group is not there
    assert rows["layer_6_no_decay"]["parameters"] == 9
    assert rows["layer_6_no_decay"]["num_elements"] == 128
    assert "layer_0_decay" not in rows and len(rows) == len(wrapper.optimizer.param_groups)
    assert group_table(wrapper.optimizer) == list(rows.values())


def test_table_and_range_under_a_schedule():
    """The table has the learning rates before the schedule, the range the current ones."""
    wrapper = build(Detector(backbone()))
    before = group_table(wrapper)
    assert lr_range(wrapper) == (1e-3 * 0.5**6, 1e-3)
    PARAM_SCHEDULERS.build(WARMUP, default_args=dict(optimizer=wrapper))
    assert group_table(wrapper) == before
    assert lr_range(wrapper) == pytest.approx((1e-5 * 0.5**6, 1e-5))
    assert lr_range(wrapper.optimizer) == lr_range(wrapper)


def test_an_optimizer_without_layer_decay_has_a_table_too():
    optimizer = torch.optim.AdamW(Detector(backbone()).parameters(), lr=1e-3)
    (row,) = group_table(optimizer)
    assert (row["group"], row["lr_scale"], row["lr"]) == ("group_0", 1.0, 1e-3)


def test_csv_and_text_hold_the_table(wrapper, tmp_path):
    rows = group_table(wrapper)
    write_csv(rows, tmp_path / "lr_groups.csv")
    write_csv(rows, tmp_path / "lr_groups.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["lr_groups.csv"]
    with (tmp_path / "lr_groups.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [{k: type(rows[0][k])(v) for k, v in row.items()} for row in read] == rows
    lines = format_table(rows).splitlines()
    assert len({len(line) for line in lines}) == 1 and len(lines) == len(rows) + 1
    assert lines[0].split() == list(rows[0])


def test_a_failed_write_leaves_the_old_file(wrapper, tmp_path):
    path = tmp_path / "lr_groups.csv"
    write_csv(group_table(wrapper), path)
    before = path.read_bytes()
    with pytest.raises(ValueError):
        write_csv([*group_table(wrapper), dict(unknown=1)], path)
    assert path.read_bytes() == before


class Numbers(Dataset):
    """5 samples for an epoch; 17 where iterations count: mmengine sleeps 2 s between epochs."""

    def __init__(self, length: int):
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.ones(1)


class Toy(BaseModel):
    """Two parameters with different learning rates."""

    def __init__(self):
        super().__init__()
        self.slow, self.fast = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))

    def forward(self, inputs, mode="loss"):
        return dict(loss=(self.slow * self.fast * inputs[0]).sum())


class Recorder(Hook):
    def __init__(self):
        self.rates = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append([group["lr"] for group in runner.optim_wrapper.optimizer.param_groups])


@pytest.mark.parametrize("training", TRAININGS)
def test_the_curve_is_what_the_runner_does(training, tmp_path):
    train_cfg, schedulers = TRAININGS[training]
    recorder = Recorder()
    keys = dict(custom_keys=dict(slow=dict(lr_mult=0.1)))
    runner = Runner(
        model=Toy(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=Numbers(5 if train_cfg["by_epoch"] else train_cfg["max_iters"]),
            batch_size=1,
            sampler=dict(type="DefaultSampler", shuffle=False),
        ),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1), paramwise_cfg=keys),
        param_scheduler=schedulers,
        custom_hooks=[recorder],
        default_hooks=dict(checkpoint=None, logger=None),
        experiment_name=f"curve_{training}",
        log_level="ERROR",
    )
    runner.train()
    curve = lr_curve([0.1, 0.01, 0.1], schedulers, train_cfg, per_epoch=5)
    assert curve.iterations == list(range(len(recorder.rates))) and curve.total == runner.max_iters
    expected = [list(line) for line in zip(*recorder.rates, strict=True)]
    assert len(curve.rates) == 2  # equal learning rates share a line
    for line, recorded in zip(curve.rates, expected, strict=True):
        assert line == pytest.approx(recorded, rel=1e-12)


def test_a_long_training_is_sampled_to_its_end():
    train_cfg = dict(max_iters=20_000)
    schedule = dict(type="PolyLR", by_epoch=False)
    curve = lr_curve([1.0], schedule, train_cfg)
    assert len(curve.iterations) <= POINTS + 1 and curve.epochs is None
    assert (curve.iterations[0], curve.iterations[-1]) == (0, 19_999)
    assert (curve.rates[0][0], curve.rates[0][-1]) == (1.0, 0.0)


def test_a_training_states_its_length():
    with pytest.raises(UserError, match="must state max_epochs or max_iters"):
        lr_curve([1.0], None, {}, 5)


def test_a_run_of_epochs_that_ends_inside_of_one():
    whole = lr_curve([1.0], [WARMUP, STEPS], dict(max_epochs=4), 5)
    part = lr_curve([1.0], [WARMUP, STEPS], dict(max_epochs=4, max_iters=12), 5)
    assert (part.total, part.epochs) == (12, None) and part.rates[0] == whole.rates[0][:12]
    longer = lr_curve([1.0], [WARMUP, STEPS], dict(max_epochs=4, max_iters=30), 5)
    assert longer == whole and whole.epochs == 4


def test_the_curve_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    curve = lr_curve([1.0, 0.1, 0.0], [WARMUP, STEPS], dict(max_epochs=4), 5)
    draw_curve(curve, tmp_path / "new" / "curve.png", note="5 iterations an epoch")
    image = imread(tmp_path / "new" / "curve.png")
    colours = image.reshape(-1, image.shape[-1]).round(2)
    assert image.shape[:2] == (600, 960) and len({tuple(c) for c in colours.tolist()}) > 20


def loader(root="", file="annotations/instances_train2017.json", **dataset) -> dict:
    data = dict(type=BaseDataset, data_root=str(root), ann_file=file, **dataset)
    return dict(batch_size=2, dataset=data)


@pytest.mark.parametrize(
    "filtered, length, images",
    [(True, 7330, "117,266"), (False, 7393, "118,287")],  # as in mmdet's logs with 8 x 2 images
)
def test_the_epoch_of_coco_is_known_without_its_data(filtered, length, images):
    data = loader("data/coco", filter_cfg=dict(filter_empty_gt=filtered, min_size=32))
    cfg = dict(train_dataloader=data, auto_scale_lr=dict(base_batch_size=16))
    found, source = epoch_length(cfg)
    assert found == length and images in source and "16 a step" in source


def test_the_epoch_is_counted_where_the_data_is(tmp_path):
    infos = [dict(img_path=f"{i}.jpg") for i in range(7)]
    (tmp_path / "train.json").write_text(json.dumps(dict(metainfo={}, data_list=infos)))
    cfg = dict(train_dataloader=loader(tmp_path, "train.json"))
    length, source = epoch_length(cfg)
    assert length == 4 and "7 images" in source
    repeated = dict(type="RepeatDataset", times=3, dataset=cfg["train_dataloader"]["dataset"])
    length, _ = epoch_length(dict(train_dataloader=dict(batch_size=2, dataset=repeated)))
    assert length == 11


@pytest.mark.parametrize("dataset", [dict(file="mine.json"), dict(file="")])
def test_an_unknown_epoch_is_called_assumed(dataset):
    length, source = epoch_length(dict(train_dataloader=loader("nowhere", **dataset)))
    assert length == 1000 and "assumed" in source


def config(**changes) -> Config:
    arch = dict(depths=(1, 1, 4, 1), dims=(4, 8, 16, 32))
    base = dict(
        model=dict(type="ConvNeXt", arch=arch),
        optim_wrapper=dict(
            type="OptimWrapper",
            optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05),
            constructor="LayerDecayOptimWrapperConstructor",
            paramwise_cfg=dict(decay_rate=0.5),
        ),
        train_cfg=dict(max_epochs=2),
        train_dataloader=loader("nowhere"),
        param_scheduler=[WARMUP],
    )
    return Config(base | changes)


def test_the_report_of_a_config(tmp_path):
    report = lr_report(config(), tmp_path / "curve.png")
    assert json.loads(json.dumps(report)) == report  # plain values: the tool prints it as JSON
    assert len(report["groups"]) == 13 and report["base_lr"] == 1e-3
    assert report["iterations"] == 2 * report["iterations_per_epoch"] == 2 * 59_144
    assert (tmp_path / "curve.png").stat().st_size > 10_000


def test_the_report_of_a_training_in_iterations(tmp_path):
    report = lr_report(config(train_cfg=dict(max_iters=50)), tmp_path / "curve.png")
    assert (report["iterations"], report["epochs"], report["epoch_source"]) == (50, None, None)


def test_the_report_refuses_an_absolute_minimum(tmp_path):
    floored = dict(type="PolyLR", eta_min=1e-5, by_epoch=False)
    with pytest.raises(UserError, match="eta_min_ratio=0.01"):
        lr_report(config(param_scheduler=[floored]), tmp_path / "curve.png")
