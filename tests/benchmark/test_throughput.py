"""The benchmark: the models compared, the order of the rounds, and their summary."""

import json
import statistics
import sys

import numpy as np
import pytest
import torch

from convnext_dense.benchmark import networks, throughput, timing
from convnext_dense.benchmark.modes import Options, make_step
from convnext_dense.cli.main import open_tool
from convnext_dense.errors import UserError
from convnext_dense.models import VARIANTS, ConvNeXt

PEER = "timm:convnext_atto"
SIZE = (64, 64)
SCHEMA = {
    "name": str,
    "mode": str,
    "batch_size": int,
    "images_per_s": float,
    "iqr": float,
    "peak_memory_mb": float,
    "ratio": float,
}


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the tool with a command line on the CPU; returns its stdout."""

    def call(line, *more):
        arguments = ["benchmark.py", "--device", "cpu", *line.split(), *more]
        monkeypatch.setattr(sys, "argv", arguments)
        open_tool("benchmark")
        return capsys.readouterr().out

    return call


@pytest.fixture
def no_memory(monkeypatch):
    """Measuring memory starts a process for each model, takes seconds, and is not tested here."""
    monkeypatch.setattr(throughput, "peak_memory_mb", lambda name, options: 12.5)


@pytest.fixture
def short_rounds(monkeypatch):
    monkeypatch.setattr(timing, "MIN_ROUND_S", 0.001)


@pytest.fixture
def clock(monkeypatch):
    """A clock that only steps advance; ``log`` has the names of the steps that ran."""

    class Clock:
        def __init__(self):
            self.now, self.log = 0.0, []

        def step(self, name, *durations):
            left = list(durations)

            def run():
                self.log.append(name)
                self.now += left.pop(0) if len(left) > 1 else left[0]

            return run

    clock = Clock()
    monkeypatch.setattr(timing, "perf_counter", lambda: clock.now)
    return clock


def test_rounds_alternate_between_models_and_turn_their_order(clock):
    steps = [clock.step("ours", 1.0), clock.step("a", 2.0), clock.step("b", 4.0)]
    seconds = timing.run_rounds(steps, [2, 1, 1], rounds=3, device="cpu")
    forwards = ["ours", "ours", "a", "b"]
    assert clock.log == forwards + ["b", "a", "ours", "ours"] + forwards
    np.testing.assert_allclose(seconds, [[1.0] * 3, [2.0] * 3, [4.0] * 3])


def test_warm_up_finds_the_iterations_of_a_round(clock):
    found = timing.warm_up(clock.step("ours", 5.0, 0.03), "cpu")
    assert found.first_s == pytest.approx(5.0)
    assert found.count == 7  # 6 x 0.03 s would be less than 0.2 s
    assert found.rest_s == pytest.approx(0.03 * (len(clock.log) - 1))
    assert timing.warm_up(clock.step("slow", 0.5), "cpu").count == 1


def test_summary_against_the_standard_library():
    rates = np.random.default_rng(0).uniform(1, 9, (3, 8))
    for row, found in zip(rates, timing.summarise(rates), strict=True):
        low, median, high = statistics.quantiles(row.tolist(), n=4, method="inclusive")
        assert found.images_per_s == pytest.approx(median)
        assert found.quartiles == pytest.approx((low, high))
        assert found.iqr == pytest.approx(high - low)


def test_the_ratio_is_that_of_the_printed_numbers():
    # The machine slows down tenfold in one round, which medians do not see.
    ours, peer = [10.0, 1.0, 12.0], [5.0, 0.5, 4.0]
    mine, first, other = timing.summarise(np.array([ours, peer, ours]))
    assert mine.ratio == mine.images_per_s / first.images_per_s == 10 / 4
    assert (first.ratio, other.ratio) == (1.0, mine.ratio)
    assert timing.summarise(np.array([ours]))[0].ratio is None


def same_pair():
    ours, peer = (networks.build(name, SIZE) for name in ("atto", PEER))
    networks.copy_weights(ours, peer, PEER)
    return ours, peer


def test_features_equal_timms_with_the_same_weights():
    networks.check_features(*same_pair(), PEER, "cpu")


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("downsample_layers.0.1.bias", 0),
        ("stages.1.1.gamma", 1),
        ("stages.2.5.dwconv.weight", 2),
        ("stages.3.0.norm.weight", 3),
        ("stages.3.1.pwconv1.bias", 3),
    ],
)
def test_a_changed_weight_is_noticed(name, stage):
    ours, peer = same_pair()
    with torch.no_grad():
        ours.get_parameter(name)[0] += 0.1
    with pytest.raises(UserError, match=f"Stage {stage} .*{PEER}"):
        networks.check_features(ours, peer, PEER, "cpu")


def test_nothing_is_timed_when_the_check_fails(monkeypatch):
    def forget(ours, peer, name):
        pass

    monkeypatch.setattr(networks, "copy_weights", forget)
    monkeypatch.setattr(throughput, "warm_up", lambda *_: pytest.fail("timed"))
    with pytest.raises(UserError, match="Stage 0"):
        throughput.compare(["atto"], None, Options(image_size=SIZE))


def test_other_parameters_are_refused():
    ours, peer = ConvNeXt("atto"), networks.build("timm:convnext_pico", SIZE)
    with pytest.raises(UserError, match="has other parameters"):
        networks.copy_weights(ours, peer, "timm:convnext_pico")


def test_every_variant_has_its_peer():
    assert all(networks.is_same_network(name, f"timm:convnext_{name}") for name in VARIANTS)
    assert networks.is_same_network("tiny", "timm:convnext_tiny.fb_in1k")
    assert not networks.is_same_network("tiny", "timm:convnext_small")


@pytest.mark.parametrize(
    ("variants", "against", "message"),
    [
        (["atto", "tinny"], None, "'tinny': choose one of atto, femto"),
        (["atto"], ["convnext_atto"], "LIBRARY:MODEL.*libraries: timm"),
        (["atto"], ["keras:convnext_tiny"], "known libraries: timm, torchvision, mmpretrain, tr"),
        (["cls:tinny"], None, "'tinny': choose one of atto, femto"),
        (["atto"], ["torchvision:convnext_tinny"], "such as convnext_tiny"),
        (["atto"], ["transformers:convnext_giant"], "such as convnext_"),
        (["atto"], [PEER, "timm:convnext_tinny"], "such as convnext_tiny"),
        (["atto"], ["timm:#"], "such as convnext_atto"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_built(
    monkeypatch, variants, against, message
):
    monkeypatch.setattr(networks, "build", lambda *_: pytest.fail("built"))
    with pytest.raises(UserError, match=message):
        throughput.compare(variants, against, Options(image_size=SIZE))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(mode="detekt"), "use infer, train"),
        (dict(amp="fp8"), "use off, bf16, fp16"),
        (dict(device="tpu"), "use cpu, cuda"),
        (dict(rounds=0), "rounds must be at least 1"),
        (dict(batch_size=-1), "batch_size must be at least 1"),
        (dict(threads=0), "threads must be at least 1"),
        (dict(batch_size="auto"), "auto finds the largest batch that fits into a GPU's memory"),
    ],
)
def test_wrong_options_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        Options(**wrong)


def test_image_sizes():
    assert throughput.parse_image_size("512") == (512, 512)
    assert throughput.parse_image_size("800x1280") == (800, 1280)
    for text in ("", "x512", "800,1280", "-32"):
        with pytest.raises(UserError, match="S nor HxW"):
            throughput.parse_image_size(text)


class Probe(torch.nn.Module):
    """Records its calls; it returns two feature maps, both of which a loss must use."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 1)
        self.seen = []

    def forward(self, x):
        y = self.conv(x)
        self.seen.append((x, y, self.training, torch.is_inference_mode_enabled()))
        return [y, 2 * y[..., :2, :2]]


def test_an_iteration_of_inference():
    probe = Probe()
    make_step(probe, Options(batch_size=2, image_size=(32, 48), amp="bf16", channels_last=True))()
    x, y, training, inference = probe.seen[0]
    assert x.shape == (2, 3, 32, 48)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert y.dtype == torch.bfloat16
    assert (training, inference) == (False, True)
    assert probe.conv.weight.grad is None


def test_an_iteration_of_training_gives_fresh_gradients():
    probe = Probe()
    step = make_step(probe, Options(mode="train", image_size=(32, 32)))
    step()
    step()
    x, y, training, inference = probe.seen[1]
    assert x.is_contiguous()
    assert y.dtype == torch.float32
    assert (training, inference) == (True, False)
    again = torch.nn.functional.conv2d(x, probe.conv.weight, probe.conv.bias)
    loss = (again**2).mean() + (4 * again[..., :2, :2] ** 2).mean()
    expected = torch.autograd.grad(loss, probe.conv.weight)[0]
    torch.testing.assert_close(probe.conv.weight.grad, expected)  # of one step, not of two


def test_channels_last_changes_the_peers_weights_not_ours():
    ours, peer = same_pair()
    for network in (ours, peer):
        make_step(network, Options(image_size=SIZE, channels_last=True))
    assert peer.stem_0.weight.is_contiguous(memory_format=torch.channels_last)
    assert ours.downsample_layers[0][0].weight.is_contiguous()


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_json_of_the_tool(run, mode, no_memory, short_rounds):
    against = [PEER, "timm:resnet10t"]
    line = f"{mode} atto --image-size 64 --rounds 2 --batch-size 2 --threads 1 --json --against"
    rows = json.loads(run(line, *against))  # JSON and nothing else
    assert [row["name"] for row in rows] == ["atto", *against]
    for row in rows:
        assert {key: type(value) for key, value in row.items()} == SCHEMA
        assert list(row) == list(SCHEMA)
        assert (row["mode"], row["batch_size"], row["peak_memory_mb"]) == (mode, 2, 12.5)
        assert row["images_per_s"] > 0
    assert rows[1]["ratio"] == 1.0


def test_table_of_the_tool(run, no_memory, short_rounds):
    out = run("infer atto --image-size 64x32 --rounds 1 --channels-last")
    header, ours, peer, conditions, _, note, checked = out.splitlines()
    assert "images/s" in header
    assert ours.split()[0] == "atto"
    assert peer.split()[0] == PEER  # the default peer
    for part in ("infer, 1 x 3 x 64 x 32", "channels_last", torch.__version__, "1 threads"):
        assert part in conditions
    assert "output norms" in note
    assert checked.endswith(f" {PEER}.")


def test_a_wrong_name_ends_the_tool_with_one_sentence(run, capsys):
    with pytest.raises(SystemExit) as end:
        run("infer attto")
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: Unknown ConvNeXt arch 'attto'")


def test_images_are_counted_and_peers_are_optional(monkeypatch, no_memory, short_rounds):
    monkeypatch.setattr(throughput, "run_rounds", lambda *_: np.array([[0.5, 0.5, 0.25]]))
    (found,) = throughput.compare(["atto"], [], Options(image_size=SIZE, batch_size=4))
    assert (found.images_per_s, found.ratio, found.same_weights) == (8.0, None, None)


@pytest.mark.slow
def test_peak_memory_is_the_models_own():
    found = throughput.peak_memory_mb("atto", Options(mode="train", image_size=SIZE, threads=1))
    if found is None:
        pytest.skip("the system has no /proc")
    weights = sum(p.numel() for p in ConvNeXt("atto").parameters()) * 4 / 2**20
    # At least weights and gradients, without the Python process of more than 250 MiB.
    assert 2 * weights < found < 200


@pytest.mark.gpu
def test_on_the_gpu(short_rounds):
    options = Options(mode="train", device="cuda", amp="bf16", image_size=SIZE, rounds=2)
    ours, peer = throughput.compare(["atto"], None, options)
    assert peer.same_weights
    for one in (ours, peer):
        assert one.images_per_s > 0
        assert 10 < one.peak_memory_mb < 1000
