"""The moving average of the weights, against torch's and timm's, and in runs of dense models."""

import json
import logging
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from convnext_dense.cli.main import main
from convnext_dense.config.load import load_config
from convnext_dense.config.names import find_shipped
from convnext_dense.engine.hooks import MetricsFileHook
from convnext_dense.engine.weight_averaging import WeightAverageHook, decay_of, steps_of
from convnext_dense.errors import UserError
from convnext_dense.finetune.average import average_weights, describe_average, use_average_alone
from convnext_dense.inference.model import load
from convnext_dense.weights import read_checkpoint
from tests.exact import assert_same_checkpoints
from tests.miniature import SHAPES
from tests.running import run

DECAY = 0.9
TIED = ("head.weight", "first.weight")


class Net(nn.Module):
    """Weights, a batch norm with its counter, and a layer whose weights two names share."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)
        self.head.weight = self.first.weight

    def forward(self, x):
        return self.head(self.norm(self.first(x)).relu())


def fake_runner(model, accumulate=1):
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5), accumulate)
    wrapper.initialize_count_status(model, 0, 20)
    return SimpleNamespace(model=model, optim_wrapper=wrapper, cfg=None, hooks=(), _resume=False)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("library", ["torch", "timm"])
def test_the_average_is_that_of_other_libraries(library, accumulate):
    """Running statistics are averaged as weights are; counters are copied."""
    torch.manual_seed(0)
    model = Net()
    if library == "torch":
        theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=True)
        update = theirs.update_parameters
        update(model)  # the first call copies
    else:
        theirs = pytest.importorskip("timm.utils").ModelEmaV3(model, decay=DECAY)
        update = theirs.update
    runner, hook = fake_runner(model, accumulate), WeightAverageHook(decay=DECAY)
    hook.before_train(runner)
    for number in range(8):
        runner.optim_wrapper.update_params(model(torch.randn(6, 4)).square().mean())
        hook.after_train_iter(runner, number)
        if (number + 1) % accumulate == 0:
            update(model)
    state, expected = hook.model.state_dict(), theirs.module.state_dict()
    for name, value in expected.items():
        # timm moves a tensor once for each of its names.
        if name == "norm.num_batches_tracked":
            assert state[name] == model.norm.num_batches_tracked == 8
        elif library == "torch" or name not in TIED:
            torch.testing.assert_close(state[name], value, rtol=0, atol=1e-6)
    assert not torch.allclose(state["norm.running_mean"], model.norm.running_mean, atol=1e-3)
    assert not torch.allclose(state["head.weight"], model.head.weight, atol=1e-3)
    assert torch.equal(state["head.weight"], state["first.weight"])


@pytest.mark.parametrize("steps, decay", [
    (10**6, 0.9999), (100_000, 0.9999), (9500, 1 - 1 / 950), (2000, 0.995), (3, 0.5),
])  # fmt: skip
def test_the_decay_of_a_run(steps, decay):
    assert decay_of(steps) == pytest.approx(decay)


def averaging(iterations: int, decay: float | None, checkpoint: dict | None = None) -> dict:
    """The checkpoint of a run of this length that has begun, or resumed, with its average."""
    runner, hook = fake_runner(Net()), WeightAverageHook(decay)
    runner.cfg = Config(dict(train_cfg=dict(max_iters=iterations)))
    runner.train_dataloader, runner.logger = [0] * 5, logging.getLogger("averaging")
    if checkpoint:
        runner._resume = True
        hook.after_load_checkpoint(runner, checkpoint)
    hook.before_train(runner)
    hook.gather(runner)
    written = dict(meta={})
    hook.before_save_checkpoint(runner, written)
    return written


def test_a_resumed_run_keeps_the_decay_that_it_began_with():
    begun = averaging(2000, None)
    longer = averaging(20_000, None, begun)
    again = averaging(40_000, None, longer)
    assert [one["meta"]["average_decay"] for one in (begun, longer, again)] == [0.995] * 3
    assert averaging(20_000, 0.9, begun)["meta"]["average_decay"] == 0.9  # a number wins
    without = dict(meta={})  # of a run that kept no average
    assert averaging(20_000, None, without)["meta"]["average_decay"] == 0.9995


def test_a_run_that_is_stopped_early_has_the_decay_of_its_schedule():
    """``--max-iters`` on a recipe that counts iterations: the schedule stays, and so the decay."""
    runner = fake_runner(Net())
    schedule = [dict(type="LinearLR", by_epoch=False, end=50), dict(type="PolyLR", by_epoch=True)]
    whole = dict(type="CosineAnnealingLR", by_epoch=False, begin=50, end=2000)
    runner.cfg = Config(dict(train_cfg=dict(max_iters=20), param_scheduler=[*schedule, whole]))
    runner.train_dataloader = [0] * 5
    assert steps_of(runner) == 2000


@pytest.mark.parametrize("decay", [0, 1, -0.1, 2, True, "long", float("nan")])
def test_no_decay(decay):
    with pytest.raises(UserError, match="between 0 and 1, such as 0.9999, got"):
        WeightAverageHook(decay)


@pytest.mark.parametrize("name", ["mask_rcnn_convnext_t_3x", "upernet_convnext_t_512_160k",
                                  "convnext_t_in1k_300e"])  # fmt: skip
def test_a_config_with_the_average(name):
    cfg = load_config(find_shipped(name))
    average_weights(cfg, "auto")
    average_weights(cfg, 0.99)  # the last one counts
    hooks = [hook for hook in cfg.custom_hooks if hook.type == "WeightAverageHook"]
    assert [hook.decay for hook in hooks] == [0.99]
    assert (cfg.val_cfg.type, cfg.test_cfg.type) == ("BothWeightsValLoop", "BothWeightsTestLoop")
    assert describe_average(cfg).endswith("(decay 0.99)")
    use_average_alone(cfg)
    assert cfg.test_cfg.type == "TestLoop" and not describe_average(cfg)


def test_another_average_is_refused():
    cfg = Config(dict(custom_hooks=[dict(type="EMAHook")]))
    with pytest.raises(UserError, match="custom_hooks names mmengine's EMAHook"):
        average_weights(cfg, "auto")


def test_a_checkpoint_without_an_average(tmp_path):
    torch.save(dict(state_dict={"a": torch.zeros(1)}), tmp_path / "a.pth")
    (tmp_path / "a.jpg").write_bytes(b"")
    words = [SHAPES, tmp_path / "a.pth"]
    for command in (["test", *words], ["predict", *words, tmp_path / "a.jpg"]):
        said = run(*command, "--ema", code=2, cwd=tmp_path)
        assert "a.pth has no averaged weights: leave out --ema, or train with" in said


@pytest.mark.parametrize("averaged", [True, False])
def test_the_figures_of_a_test_say_whose_they_are(tmp_path, averaged):
    cfg = load_config(find_shipped("mask_rcnn_convnext_t_3x"))
    if averaged:
        use_average_alone(cfg)
    hub = SimpleNamespace(runtime_info={"facts_of_the_run": {"tta": True}})
    runner = SimpleNamespace(cfg=cfg, work_dir=tmp_path, message_hub=hub, _load_from="a.pth")
    MetricsFileHook().after_test_epoch(runner, {"coco/bbox_mAP": 0.5})
    expected = {"bbox_mAP": 0.5, "tta": True, "checkpoint": "a.pth"}
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found == expected | ({"ema": True} if averaged else {})


OPTIONS = [
    "--cfg-options",
    "default_hooks.checkpoint.interval=3",
    "model.test_cfg.rcnn.score_thr=0.0",
    "model.test_cfg.rcnn.max_per_img=5",
]


@pytest.mark.slow
def test_a_detector_with_its_average(birds, tmp_path):
    """With accumulated batches and frozen stages: resumed to the bit, tested and predicted."""
    data = ["--train-json", birds / "train.json", "--val-json", birds / "val.json"]
    data += ["--images", birds / "images"]
    flags = ["mask_rcnn_convnext_a_shapes", *data, "--average-weights", "--accumulate", 2]
    flags += ["--freeze", "1", "--seed", 1, "--max-iters", 8, "--work-dir"]
    said = run("train", *flags, tmp_path / "run", *OPTIONS)
    assert "decay by the length of the run" in " ".join(said.split())
    run("train", *flags, tmp_path / "again", *OPTIONS, "--resume", tmp_path / "run/iter_3.pth")
    last = tmp_path / "run/iter_8.pth"
    assert_same_checkpoints(tmp_path / "again/iter_8.pth", last)
    content = read_checkpoint(last)
    plain, average = content["state_dict"], content["state_dict_ema"]
    assert plain.keys() == average.keys()
    stem = "backbone.downsample_layers.0.0.weight"
    assert torch.equal(plain[stem], average[stem])
    assert not torch.equal(plain["rpn_head.rpn_conv.weight"], average["rpn_head.rpn_conv.weight"])
    figures = json.loads((tmp_path / "run/metrics.json").read_text())
    assert {"bbox_mAP", "bbox_mAP_ema", "segm_mAP_ema"} <= figures.keys()

    swapped = tmp_path / "swapped.pth"
    torch.save({**deepcopy(content), "state_dict": average}, swapped)
    config = next((tmp_path / "run").glob("*.py"))
    results = {}
    for name, words in (("both", [last]), ("ema", [last, "--ema"]), ("swapped", [swapped])):
        work = tmp_path / name
        run("test", config, *words, "--work-dir", work, "--out", work / "out.json")
        results[name] = json.loads((work / "out.json").read_text())
    assert results["ema"] == results["swapped"] != results["both"]
    measured = json.loads((tmp_path / "ema/metrics.json").read_text())
    assert measured["ema"] is True and measured["bbox_mAP"] == figures["bbox_mAP_ema"]
    meta = read_checkpoint(last)["meta"]  # classes that are never found have no threshold
    assert meta.get("best_thresholds_ema", {}) == measured["best_thresholds"]
    assert meta.get("best_thresholds", {}) == figures["best_thresholds"]
    main(
        ["push", str(tmp_path / "run"), "own/birds", "--ema", "--to-folder", str(tmp_path / "hub")]
    )
    card = (tmp_path / "hub/README.md").read_text()
    assert f"| bbox_mAP | {figures['bbox_mAP_ema']:.4f} |" in card
    seen = [
        load(source, ema=ema)(
            next((birds / "images").glob("val_*.jpg")), threshold=0
        ).scores.tolist()
        for source, ema in ((last, True), (swapped, False), (last, False))
    ]
    assert seen[0] == seen[1] != seen[2]
