"""The benchmark's other models: classifiers, other libraries, whole detectors and segmentors."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from convnext_dense.benchmark import libraries, networks, throughput, timing, whole_models
from convnext_dense.benchmark.batch_size import MAX_BATCH, largest_batch
from convnext_dense.benchmark.modes import Options, make_step
from convnext_dense.cli.main import open_tool
from convnext_dense.errors import UserError

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
DETECTOR = str(CONFIGS / "detection" / "mask_rcnn_convnext_a_shapes.py")
SEGMENTOR = str(CONFIGS / "segmentation" / "upernet_convnext_a_shapes.py")
CLASSIFIER = str(CONFIGS / "classification" / "convnext_a_shapes.py")
KEYS = ["name", "mode", "batch_size", "images_per_s", "iqr", "peak_memory_mb", "ratio"]
SIZE = (64, 96)


@pytest.fixture
def quick(monkeypatch):
    """Short rounds, and no processes that measure memory."""
    monkeypatch.setattr(throughput, "peak_memory_mb", lambda name, options: 12.5)
    monkeypatch.setattr(timing, "MIN_ROUND_S", 0.001)


@pytest.fixture
def rates(monkeypatch, quick):
    """Rounds of known seconds: 2 rounds of ours, then of the peers."""

    def give(*seconds):
        monkeypatch.setattr(throughput, "run_rounds", lambda *_: np.array(seconds))

    return give


def compare(models, against=None, **options):
    return throughput.compare(models, against, Options(**{"image_size": SIZE, **options}))


def change_parameter(ours, parameter):
    with torch.no_grad():
        ours.get_parameter(parameter)[0] += 0.5


def hide_transformers(monkeypatch):
    """With transformers 5, the import of mmpretrain 1.2 fails in parts that are not needed here."""
    metadata = pytest.importorskip("importlib_metadata")
    distribution = metadata.distribution

    def without_transformers(package):
        if package == "transformers":
            raise metadata.PackageNotFoundError(package)
        return distribution(package)

    monkeypatch.setattr(metadata, "distribution", without_transformers)


LIBRARY_NAMES = [
    f"{library}:convnext_atto" for library in ("timm", "transformers", "mmpretrain", "plain")
]


@pytest.mark.parametrize("name", [*LIBRARY_NAMES, "torchvision:convnext_tiny"])
@pytest.mark.parametrize("classes", [None, 5])
def test_outputs_of_every_library_equal_ours_with_the_same_weights(name, classes, monkeypatch):
    library, _, model = name.partition(":")
    if importlib.util.find_spec(libraries.LIBRARIES[library].package) is None:
        pytest.skip(f"{library} is not installed")
    if library == "mmpretrain":
        hide_transformers(monkeypatch)
    monkeypatch.setattr(networks, "CLASSES", 5)
    variant = model.removeprefix("convnext_")
    ours = networks.build(variant if classes is None else f"cls:{variant}", SIZE)
    peer = networks.build(name, SIZE, classes)
    with pytest.raises(UserError, match="with the same weights by"):
        networks.check_features(ours, peer, name, "cpu")
    networks.copy_weights(ours, peer, name)
    networks.check_features(ours, peer, name, "cpu")
    change_parameter(ours, "stages.2.1.gamma")
    with pytest.raises(UserError, match="classifier differs" if classes else "Stage 2 of our"):
        networks.check_features(ours, peer, name, "cpu")


def test_a_peer_with_other_parameters_is_refused():
    ours, peer = networks.build("cls:atto", SIZE), networks.build("timm:convnext_atto", SIZE, 10)
    with pytest.raises(UserError, match=r"other parameters than ours \(head.fc"):
        networks.copy_weights(ours, peer, "timm:convnext_atto")


def test_nothing_is_timed_when_the_logits_differ(monkeypatch):
    monkeypatch.setattr(networks, "copy_weights", lambda *_: None)
    monkeypatch.setattr(throughput, "warm_up", lambda *_: pytest.fail("timed"))
    with pytest.raises(UserError, match="output of our classifier differs"):
        compare(["cls:atto"])


def test_a_classification_config_is_compared_with_timms_whole_model(rates):
    rates([0.1, 0.1], [0.2, 0.2])
    ours, peer = compare([CLASSIFIER], image_size=None, batch_size=2)
    assert (ours.name, peer.name) == (CLASSIFIER, "timm:convnext_atto")
    assert (ours.images_per_s, ours.ratio, peer.same_weights) == (20.0, 2.0, True)
    size = whole_models.read_config(CLASSIFIER).test_dataloader.dataset.transform["size"]
    assert ours.image_size == (size, size)


@pytest.mark.parametrize(
    ("model", "size"), [("atto", (512, 512)), ("cls:atto", (224, 224)), (SEGMENTOR, (168, 224))]
)
def test_images_have_the_models_own_size_where_none_is_given(model, size):
    assert throughput._complete_options([model], Options(image_size=None)).image_size == size


def test_the_loss_of_a_classifier_is_cross_entropy():
    class Probe(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 4)
            self.seen = []

        def forward(self, x):
            self.seen.append(x)
            return self.head(x.mean(dim=(-2, -1)))

    probe = Probe()
    make_step(probe, Options(mode="train", batch_size=6, image_size=(8, 8)))()
    log_shares = probe.head(probe.seen[0].mean(dim=(-2, -1))).log_softmax(dim=1)
    loss = -sum(log_shares[i, i % 4] for i in range(6)) / 6
    expected = torch.autograd.grad(loss, probe.head.weight)[0]
    torch.testing.assert_close(probe.head.weight.grad, expected)


@pytest.mark.parametrize("name", ["timm:swin_tiny_patch4_window7_224", "torchvision:swin_t"])
def test_stochastic_depth_is_off_in_every_library(name):
    network = networks.build(name, (64, 64), 5).train()
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images), network(images))


def test_another_architecture_is_timed_and_named_as_not_comparable(rates):
    rates([0.1, 0.1], [0.2, 0.2], [0.4, 0.1])
    found = compare(["cls:atto"], ["torchvision:resnet18", "timm:convnext_femto"])
    assert [one.same_weights for one in found] == [None, False, False]
    assert [one.ratio for one in found] == [2.0, 1.0, 1.25]
    last = throughput.format_table(found, Options()).splitlines()[-1]
    assert last.endswith(
        "not comparable in its outputs: torchvision:resnet18, timm:convnext_femto."
    )


@pytest.mark.parametrize("name", ["torchvision:resnet18", "torchvision:swin_t"])
def test_torchvisions_maps_have_the_four_strides(name):
    maps = networks.build(name, SIZE)(torch.randn(1, 3, 64, 64))
    edges = [sorted(one.shape[1:])[:2] for one in maps]
    assert edges == [[16, 16], [8, 8], [4, 4], [2, 2]]


def test_a_torchvision_model_without_known_maps_is_refused():
    with pytest.raises(UserError, match="torchvision:alexnet are not known: .*cls:tiny"):
        networks.build("torchvision:alexnet", SIZE)


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="transformers, which is not installed: run pip install"):
        networks.check_peer("transformers:convnext_tiny")


@pytest.mark.parametrize(
    ("mode", "models", "against", "message"),
    [
        ("detect", [SEGMENTOR], None, "detect does not measure .*: use segment, or give a det"),
        ("segment", ["tiny"], None, "segment does not measure tiny: use infer or train, or give"),
        ("train", [DETECTOR], None, "train does not measure .*: use detect, or give a variant"),
        ("detect", [DETECTOR], ["timm:convnext_tiny"], "detect compares configs: 'timm:convn"),
        ("detect", [DETECTOR, SEGMENTOR], None, "detect does not measure .*upernet"),
        ("infer", ["atto"], [CLASSIFIER], "compare cls:atto with it"),
        ("detect", [DETECTOR.replace("mask_rcnn", "mask_rnn")], None, "nearest is .*mask_rcnn_c"),
    ],
)
def test_models_of_another_mode_are_refused_before_anything_is_built(
    monkeypatch, mode, models, against, message
):
    monkeypatch.setattr(networks, "build", lambda *_: pytest.fail("built"))
    with pytest.raises(UserError, match=message):
        compare(models, against, mode=mode)


@pytest.mark.parametrize(("mode", "config"), [("detect", DETECTOR), ("segment", SEGMENTOR)])
def test_json_of_whole_models(mode, config, quick, monkeypatch, capsys):
    line = f"{mode} {config} --against {config} --device cpu --image-size 64x96 --rounds 2 --json"
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *line.split()])
    open_tool("benchmark")
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    assert [list(row) for row in rows] == [KEYS, KEYS]
    assert [(row["name"], row["mode"], row["batch_size"]) for row in rows] == [
        (config, mode, 1)
    ] * 2
    assert rows[1]["ratio"] == 1.0
    assert "warm-up s" in captured.err


def test_several_configs_are_peers_of_the_first(rates, monkeypatch):
    rates([0.1, 0.1], [0.2, 0.2])
    monkeypatch.setattr(throughput, "warm_up", lambda *_: timing.WarmUp(0.0, 0.0, 1))
    ours, peer = compare([SEGMENTOR, SEGMENTOR], mode="segment")
    assert (ours.ratio, peer.ratio, ours.same_weights, peer.same_weights) == (2.0, 1.0, None, False)


def test_a_random_detector_finds_enough_to_compute_masks():
    torch.manual_seed(0)
    model = networks.build(DETECTOR, (128, 160)).eval()
    batch = model.batch(2, (128, 160))
    assert [one.dtype for one in batch["inputs"]] == [torch.uint8] * 2
    with torch.no_grad():
        before = [len(one.pred_instances) for one in model(batch)]
        model.let_candidates_pass(batch)
        after = model(batch)
    most = model.model.roi_head.test_cfg.max_per_img
    assert max(before) < most / 2  # the reason for the new threshold
    for one in after:
        assert most / 2 <= len(one.pred_instances) <= most
        assert one.pred_instances.masks.shape[-2:] == (128, 160)


def test_a_segmentor_labels_every_pixel():
    model = networks.build(SEGMENTOR, SIZE).eval()
    with torch.no_grad():
        (found,) = model(model.batch(1, SIZE))
    assert found.pred_sem_seg.data.shape == (1, *SIZE)


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (7, 4), (8, 8), (10**9, MAX_BATCH)])
def test_the_largest_batch_is_the_largest_power_of_two_that_fits(limit, expected):
    tried = []

    def fits(size):
        tried.append(size)
        return size <= limit

    assert largest_batch(fits) == expected
    assert max(tried) <= max(1, 2 * expected)


def test_a_model_that_does_not_fit_at_all_is_an_error():
    with pytest.raises(UserError, match="Not even one image fits"):
        largest_batch(lambda size: False)


def test_batches_are_tried_with_all_models_until_memory_ends(monkeypatch):
    tried = []

    def step(network, options):
        tried.append(options.batch_size)
        if options.batch_size > 4:
            raise torch.OutOfMemoryError
        return lambda: None

    monkeypatch.setattr(throughput, "make_step", step)
    assert throughput._fitting_batch(["atto", "timm:convnext_atto"], Options()) == 4
    assert tried == [1, 1, 2, 2, 4, 4, 8]


def test_all_peers_of_the_papers_tables_exist():
    for name in ("swin_tiny", "swin_small", "swin_base", "swin_large"):
        assert timm.is_model(f"{name}_patch4_window7_224")
