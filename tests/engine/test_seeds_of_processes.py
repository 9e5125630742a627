"""The processes of a run draw apart, and begin with the same weights in one order of images."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from convnext_dense.data.fit import load_fitted_config
from convnext_dense.data.shapes.dataset import prepare_shapes
from convnext_dense.engine import build_runner
from convnext_dense.engine.random_state import seed_each_process
from convnext_dense.engine.sharding import gather_tensors, use_fsdp
from convnext_dense.models.block import Block
from convnext_dense.weights import read_checkpoint
from tests.exact import assert_equal, assert_same_checkpoints
from tests.running import run_together

ROOT = Path(__file__).parents[2]
# Chance of every kind: stochastic depth and erasing (torch, Python), mixup and CutMix (numpy).
CONFIG = f"""
_base_ = ["{ROOT}/configs/classification/convnext_a_shapes.py"]
model = dict(
    data_preprocessor=dict(mixup=0.8, cutmix=1.0, erasing=0.25),
    backbone=dict(
        arch=dict(_delete_=True, depths=(1, 1, 2, 1), dims=(8, 8, 8, 8)), drop_path_rate=0.9
    ),
)
train_dataloader = dict(dataset=dict(data_root="mini/cls/train", transform=dict(size=32)))
val_dataloader = dict(dataset=dict(data_root="mini/cls/val", transform=dict(size=32)))
param_scheduler = dict(warmup=1, end=2)
"""
SEED, STEPS = 7, 4


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    """24 training images: an epoch is three steps of two processes with four images each."""
    root = tmp_path_factory.mktemp("data")
    prepare_shapes(root, train=1, val=1, cls_train=4, cls_val=1).rename(root / "mini")
    (root / "config.py").write_text(CONFIG)
    return root


class Watch(Hook):
    """Notes what a process begins with, which images it reads and what it draws for them."""

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        if not hasattr(self, "seen"):
            self._begin(runner)
        self.seen["paths"].extend(map(str, data_batch["paths"]))

    def _begin(self, runner) -> None:
        model = getattr(runner.model, "module", runner.model)
        state = {name: value.clone() for name, value in gather_tensors(model.state_dict()).items()}
        seed = runner.train_dataloader.batch_sampler.seed
        self.seen = dict(weights=state, seed=seed, paths=[], shares=[], kept=[])
        for block in (module for module in model.modules() if isinstance(module, Block)):
            block.register_forward_hook(self._note_kept)
        mixing = model.data_preprocessor.mixing
        mixing._params_per_batch = self._noting_share(mixing._params_per_batch)

    def _noting_share(self, draw):
        def drawn() -> tuple[float, bool]:
            share, is_cutmix = draw()
            self.seen["shares"].append(float(share))
            return share, is_cutmix

        return drawn

    def _note_kept(self, block, inputs, output) -> None:
        if block.training:
            self.seen["kept"].append((inputs[0] != output).flatten(1).any(1).tolist())


def train(rank: int, data_root: Path, work_dir: Path, options: dict) -> None:
    """A process of a run of four steps; what its watch saw is written beside the checkpoints."""
    # Formatting the config for each checkpoint's meta takes longer than the training.
    Config.pretty_text = property(lambda cfg: "")
    launcher = options.get("launcher", "pytorch")
    settled = dict(data_root=data_root, launcher=launcher, splits=("train", "val"))
    cfg = load_fitted_config(data_root / "config.py", **settled)
    cfg.work_dir = cfg.experiment_name = str(work_dir)
    cfg.randomness = dict(seed=options.get("seed", SEED), **options.get("randomness", {}))
    cfg.train_cfg.max_iters = options.get("steps", STEPS)
    cfg.default_hooks.checkpoint.update(interval=1, by_epoch=False, max_keep_ckpts=-1)
    cfg.visualizer.vis_backends = []
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
    if options.get("fsdp"):
        use_fsdp(cfg)
    if "resume" in options:
        cfg.update(resume=True, load_from=str(options["resume"]))
    runner, watch = build_runner(cfg), Watch()
    runner.register_hook(watch)
    runner.train()
    torch.save(watch.seen, work_dir / f"seen_{rank}.pt")


def seen(work_dir: Path, processes: int = 2) -> list[dict]:
    return [torch.load(work_dir / f"seen_{rank}.pt") for rank in range(processes)]


@pytest.fixture(scope="module")
def two(data_root, tmp_path_factory) -> Path:
    """The work folder of a run in two processes."""
    work_dir = tmp_path_factory.mktemp("runs") / "two"
    run_together(train, data_root, work_dir, {})
    return work_dir


def states(checkpoint: Path) -> list[dict]:
    return read_checkpoint(checkpoint)["random_state"]


def assert_apart(found: list[dict]) -> None:
    """Two processes whose random numbers differ in every library."""
    first, second = found
    assert first["python"] != second["python"]
    assert not torch.equal(first["numpy"][1], second["numpy"][1])
    assert not torch.equal(first["torch"], second["torch"])


def test_two_processes_draw_apart(two):
    for step in (1, STEPS):
        assert_apart(states(two / f"iter_{step}.pth"))
    first, second = seen(two)
    assert len(first["shares"]) == len(second["shares"]) == STEPS
    assert not set(first["shares"]) & set(second["shares"])
    assert len(first["kept"]) == len(second["kept"]) and first["kept"] != second["kept"]


def test_they_share_seed_weights_and_order(two):
    first, second = seen(two)
    assert first["seed"] == second["seed"] == SEED
    assert_equal(first["weights"], second["weights"])
    an_epoch = first["paths"][:12] + second["paths"][:12]
    assert len(set(an_epoch)) == len(an_epoch) == 24


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [False, True])
def test_their_first_weights_are_those_of_one_process(data_root, two, tmp_path, fsdp):
    """Of divided ones each process holds a part: together they must be the one model."""
    run_together(train, data_root, tmp_path / "one", dict(launcher="none"), processes=1)
    (single,) = seen(tmp_path / "one", processes=1)
    if fsdp:
        run_together(train, data_root, tmp_path / "two", dict(fsdp=True))
        two = tmp_path / "two"
        assert_apart(states(two / f"iter_{STEPS}.pth"))
    for process in seen(two):
        assert_equal(process["weights"], single["weights"])


@pytest.mark.slow
def test_the_first_process_draws_what_one_alone_draws(data_root, two, tmp_path):
    run_together(train, data_root, tmp_path, dict(launcher="none"), processes=1)
    (single,) = seen(tmp_path, processes=1)
    for name in ("shares", "kept"):
        assert seen(two)[0][name] == single[name]


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [False, True])
def test_two_processes_go_on_bit_for_bit(data_root, two, tmp_path, fsdp):
    whole_run = two
    if fsdp:
        whole_run = tmp_path / "whole"
        run_together(train, data_root, whole_run, dict(fsdp=True))
    # Its own seed is another, or drawn: the checkpoint's counts.
    for seed in (None, 99):
        options = dict(resume=whole_run / "iter_2.pth", seed=seed, fsdp=fsdp)
        run_together(train, data_root, tmp_path / str(seed), options)
        assert_same_checkpoints(whole_run / "iter_4.pth", tmp_path / f"{seed}/iter_4.pth")


@pytest.mark.slow
def test_a_checkpoint_of_equal_states_goes_on_as_it_was(data_root, two, tmp_path):
    """Before, all processes drew alike, and such a run ends as it began."""
    old = torch.load(two / "iter_2.pth", weights_only=False)
    old["random_state"] = [old["random_state"][0]] * 2
    torch.save(old, tmp_path / "old.pth")
    run_together(train, data_root, tmp_path / "run", dict(resume=tmp_path / "old.pth"))
    first, second = seen(tmp_path / "run")
    assert first["shares"] == second["shares"] and first["kept"] == second["kept"]


@pytest.mark.slow
def test_another_number_of_processes_draws_apart_too(data_root, two, tmp_path):
    alone = dict(launcher="none", steps=6)  # an epoch, which is three steps of two processes
    run_together(train, data_root, tmp_path / "one", alone, processes=1)
    resume = tmp_path / "one/iter_6.pth"
    run_together(train, data_root, tmp_path / "two", dict(resume=resume))
    assert_apart(states(tmp_path / "two/iter_4.pth"))


@pytest.mark.slow
@pytest.mark.parametrize("randomness", [dict(diff_rank_seed=True), dict(deterministic=True)])
def test_a_drawn_seed_is_shared(data_root, tmp_path, randomness):
    run_together(train, data_root, tmp_path, dict(seed=None, randomness=randomness))
    first, second = seen(tmp_path)
    assert (
        first["seed"] == second["seed"] == read_checkpoint(tmp_path / "iter_4.pth")["meta"]["seed"]
    )
    assert_equal(first["weights"], second["weights"])
    assert len(set(first["paths"][:12] + second["paths"][:12])) == 24
    assert_apart(states(tmp_path / "iter_4.pth"))


def test_a_process_draws_from_seed_plus_rank():
    """As the official release: main.py seeds with ``args.seed + utils.get_rank()``."""
    seed_each_process(2**32 - 1, rank=3)
    drawn = random.random(), np.random.rand(), torch.rand(1).item()
    expected = torch.Generator().manual_seed(2)
    assert drawn[0] == random.Random(2).random()
    assert drawn[1] == np.random.RandomState(2).rand()
    assert drawn[2] == torch.rand(1, generator=expected).item()
    seed_each_process(5, rank=0)
    assert random.random() != random.Random(5).random()
