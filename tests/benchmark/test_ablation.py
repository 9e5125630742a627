"""The ablation: implementations of a choice are the same function, and the table is complete."""

import importlib.util
import json
import pickle
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from convnext_dense import kernels
from convnext_dense.benchmark import timing
from convnext_dense.benchmark.ablation import layers, networks
from convnext_dense.benchmark.ablation.choices import CHOICES, Implementation
from convnext_dense.benchmark.memory import peak_of
from convnext_dense.benchmark.modes import Options
from convnext_dense.cli.shared.run_command import run_command
from convnext_dense.errors import UserError
from convnext_dense.models import VARIANTS, Block, block
from convnext_dense.models.fast import cpu_path
from tests.kernels import plain

TINY = Options(batch_size=2, image_size=(32, 64), rounds=2)
BY_NAME = {choice.name: choice for choice in CHOICES}


@pytest.fixture(autouse=True)
def mini(monkeypatch):
    """A variant for tests: atto would take a minute."""
    monkeypatch.setitem(VARIANTS, "mini", dict(depths=(1, 1, 2, 1), dims=(8, 16, 24, 40)))


@pytest.fixture(scope="module")
def parts():
    path = Path(__file__).parents[2] / "benchmarks" / "parts.py"
    spec = importlib.util.spec_from_file_location("parts_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(parts, monkeypatch, capsys):
    """Runs the script with a command line; returns its output."""
    monkeypatch.setattr(timing, "MIN_ROUND_S", 0.001)
    # A process for each implementation would take seconds, and is not tested here.
    monkeypatch.setattr(parts, "peak_of", lambda make, device: 12.5)

    def call(line):
        monkeypatch.setattr(sys, "argv", ["parts.py", *line.split()])
        run_command(parts.main)
        return capsys.readouterr().out

    return call


def test_the_table_has_every_implementation_once(run, tmp_path, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    out = run(f"--arch mini --image-size 32 --rounds 1 --json {tmp_path / 'rows.json'}")
    rows = json.loads((tmp_path / "rows.json").read_text())
    wanted = [
        (choice.name, implementation.name)
        for choice in CHOICES
        for implementation in choice.implementations
        if not implementation.compiled and not choice.kernels
    ]
    assert [(row["lever"], row["way"]) for row in rows[:-1]] == wanted
    assert "for NVIDIA GPUs; the tensors are on cpu" in rows[-1]["said"]
    for row in rows[:-1]:
        low, high = row["quartiles"]
        assert low <= row["ratio"] <= high
        assert row["ms"] > 0
        assert (row["peak_memory_mb"] == 12.5) is BY_NAME[row["lever"]].memory
        assert not row["failed"]
    lines = out.splitlines()
    assert sum(line in BY_NAME for line in lines) == len(CHOICES)
    assert all(any(line.startswith(f"  {name} ") for line in lines) for _, name in wanted)
    assert lines[-1].startswith("mini, 1 x 3 x 32 x 32, amp off, 1 rounds; torch ")


def test_the_ratio_is_of_each_rounds_times(parts, monkeypatch):
    seconds = np.array([[0.2, 2.0, 0.2], [0.1, 1.0, 0.4]])  # one round in which all are slow
    monkeypatch.setattr(parts, "run_rounds", lambda *_: seconds)
    monkeypatch.setattr(timing, "MIN_ROUND_S", 0.0)
    plain, other = parts.measure(BY_NAME["moving average"], "mini", TINY)
    assert (plain.ratio, plain.ms) == (1.0, 200.0)
    assert (other.ratio, other.quartiles, other.ms) == (2.0, (1.25, 2.0), 400.0)


def off_by_a_thousandth(module, name):
    right = getattr(module, name)

    def wrong(*args):
        result = right(*args)
        return result * 1.001 if torch.is_tensor(result) else (result[0] * 1.001, *result[1:])

    return wrong


@pytest.mark.parametrize(
    ("choice", "module", "name"),
    [
        ("training", cpu_path, "weight_gradient"),
        ("training", cpu_path, "add_norm_mlp"),
        ("inference", cpu_path, "mlp_in_place"),
        ("stochastic depth 0.1", block, "_add_kept_branches"),
        ("whole step with optimizer and moving average", block, "_add_kept_branches"),
        ("LayerNorm, forward", torch, "native_layer_norm"),
        ("gamma, forward and backward", torch, "addcmul"),
    ],
)
def test_an_implementation_that_differs_is_an_error(parts, monkeypatch, choice, module, name):
    choice = BY_NAME[choice]
    implementations = [one for one in choice.implementations if not one.compiled]
    parts.check_same(choice, implementations, "mini", TINY)
    monkeypatch.setattr(module, name, off_by_a_thousandth(module, name))
    monkeypatch.setattr(parts, "warm_up", lambda *_: pytest.fail("timed"))
    (row,) = parts.measure(choice, "mini", TINY)
    assert row.failed
    assert "two functions" in row.said


@pytest.mark.parametrize("choice", ["optimizer", "moving average"])
def test_a_step_that_does_nothing_is_an_error(parts, monkeypatch, choice):
    choice = BY_NAME[choice]
    plain = choice.implementations[0]

    def idle(arch, options):  # these steps return the tensors that they change
        make = plain.make
        with monkeypatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", lambda self: None)
            patch.setattr(layers, "EMA_DECAY", 1.0)
            tensors = [tensor.detach().clone() for tensor in make(arch, options)()]
        return lambda: tensors

    with pytest.raises(UserError, match="'nothing' differs from"):
        parts.check_same(choice, [plain, Implementation("nothing", idle)], "mini", TINY)


def test_a_failed_choice_ends_the_tool_and_the_others_are_measured(run, monkeypatch, capsys):
    monkeypatch.setattr(cpu_path, "mlp_in_place", off_by_a_thousandth(cpu_path, "mlp_in_place"))
    with pytest.raises(SystemExit) as end:
        run("--arch mini --image-size 32 --rounds 1 --only inference moving")
    captured = capsys.readouterr()
    assert end.value.code == 2
    assert captured.err == "error: Not measured: inference; the table has the reasons.\n"
    assert "by a loop" in captured.out
    assert "two functions" in captured.out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--only nothing", "No choice has nothing in its name: training; inference;"),
        ("--arch tinny", "Unknown ConvNeXt arch 'tinny'"),
        ("--image-size 31", "--image-size must be at least 32"),
        ("--amp bf16", "--amp is for NVIDIA GPUs"),
        ("--rounds 0", "rounds must be at least 1"),
    ],
)
def test_wrong_command_lines_are_refused(run, capsys, line, message):
    with pytest.raises(SystemExit) as end:
        run(line)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_nchw_is_nchw_and_ours_is_channels_last():
    for change in (None, networks.in_nchw):
        network, seen = networks.new_backbone(change, "mini", TINY, fast=False), []
        for module in network.modules():
            if isinstance(module, Block | torch.nn.Conv2d):
                module.register_forward_hook(lambda _, inputs, y: seen.append(inputs[0]))  # noqa: B023
        network(torch.randn(2, 3, 64, 96))
        assert len(seen) == 4 + 2 * 5
        for x in seen:
            layout = torch.contiguous_format if change else torch.channels_last
            assert x.is_contiguous(memory_format=layout)


def test_samples_are_left_out_where_the_row_says_so(monkeypatch):
    counts = []
    plain = Block._branch
    monkeypatch.setattr(Block, "_branch", lambda self, x: counts.append(len(x)) or plain(self, x))
    multiplying, skipping, _ = BY_NAME["stochastic depth 0.4"].implementations
    multiplying.make("mini", TINY)()
    assert counts == [8] * 5
    counts.clear()
    skipping.make("mini", TINY)()
    assert sum(counts) < 8 * 5


def test_the_kernels_are_the_same_function(parts, monkeypatch):
    def convolution(x, w, b, ln_w, ln_b, eps):
        assert eps == plain.EPS
        return plain.dwconv_norm(x, w, b, ln_w, ln_b)

    monkeypatch.setattr(kernels, "dwconv_norm", convolution)
    monkeypatch.setattr(kernels, "mlp", plain.mlp)
    choice = BY_NAME["training in bf16"]
    parts.check_same(choice, choice.implementations, "mini", TINY)


@pytest.mark.slow
def test_memory_is_measured_in_a_separate_process():
    training = BY_NAME["training"]
    options = Options(batch_size=2, image_size=(256, 256))
    makes = {one.name: partial(one.make, "atto", options) for one in training.implementations}
    peaks = [peak_of(makes[name], "cpu", 1) for name in ("plain", "plain, with_cp='block'")]
    if None in peaks:
        pytest.skip("the system has no /proc")
    assert peaks[0] > 1.3 * peaks[1]


def test_steps_can_be_sent_to_another_process():
    for choice in CHOICES:
        for implementation in choice.implementations:
            copy = pickle.loads(pickle.dumps(implementation))
            assert copy.make.func is implementation.make.func


@pytest.mark.gpu
def test_on_the_gpu(parts):
    options = Options(device="cuda", batch_size=2, image_size=(64, 64), rounds=1)
    for choice in CHOICES:
        rows = parts.measure(choice, "mini", options)
        assert not any(row.failed for row in rows), rows


@pytest.mark.slow
def test_compiled_blocks_are_the_same_function(parts):
    choice = BY_NAME["training"]
    plain, *others = choice.implementations
    implementations = [plain, *(one for one in others if one.compiled)]
    assert len(implementations) == 2
    parts.check_same(choice, implementations, "mini", TINY)
