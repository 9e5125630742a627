"""``--fit-memory``: what is chosen, what it changes in a config, and that predictions hold."""

import contextlib
import json
import math
import os
from dataclasses import replace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from convnext_dense.benchmark.training_memory import Case, measured_mib, predicted_mib, settled
from convnext_dense.cli.main import parse_tool
from convnext_dense.cli.shared.train_flags import TrainFlags
from convnext_dense.cli.shared.train_settings import fit_to_memory
from convnext_dense.config.load import load_config
from convnext_dense.config.names import find_config, shipped_configs
from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.errors import UserError
from convnext_dense.preflight.memory.choice import (
    GIB,
    MARGIN,
    MIB,
    RESERVE,
    Split,
    choose,
    possible_splits,
)
from convnext_dense.preflight.memory.fit import check_limit, fit_memory
from convnext_dense.preflight.memory.image_size import largest_images
from convnext_dense.preflight.memory.prediction import least_side, predict_memory, trial_sizes
from convnext_dense.preflight.memory.setting import (
    ACCUMULATION,
    RECORD,
    apply_setting,
    keep_setting,
    kept_setting,
    scale_iterations,
)
from convnext_dense.preflight.memory.standing import Standing, standing_bytes
from convnext_dense.preflight.memory.trial import build_trial_model, record
from convnext_dense.runs import AUTO
from tests.running import run, run_together

CLASSIFIER, DETECTOR = "convnext_a_shapes", "mask_rcnn_convnext_a_shapes"


def predictor(kind):
    share = {False: 1.0, "gelu": 0.8, "block": 0.4}[kind]
    return lambda split: share * split.batch * GIB


@pytest.mark.parametrize(
    ("usable", "kind", "batch"),
    [(18, False, 16), (9, False, 8), (1, "gelu", 1), (0.51, "block", 1)],
)
def test_the_least_checkpointing_then_the_largest_batch(usable, kind, batch):
    chosen = choose(possible_splits(16), (False, "gelu", "block"), predictor, usable * GIB).chosen
    assert (chosen.checkpointing, chosen.split) == (kind, Split(batch, 16 // batch))


def test_what_does_not_fit_is_refused_with_what_is_missing():
    sentence = r"needs 0\.50 GiB \(0\.40 predicted, .* there are 0\.20: give it 0\.30 GiB more"
    with pytest.raises(UserError, match=sentence):
        choose(possible_splits(16), (False, "gelu", "block"), predictor, 0.2 * GIB)


def flag(*words: str) -> float | str:
    """What the command reads after ``--fit-memory``."""
    _, args = parse_tool("train", [CLASSIFIER, "--fit-memory", *words])
    return args.fit_memory


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_the_flag_without_a_number_means_the_gpu(words):
    assert flag(*words) == AUTO
    if torch.cuda.is_available():
        pytest.skip("a GPU tells what it has free")
    with pytest.raises(UserError, match="needs a number on a CPU"):
        check_limit(AUTO)


def test_the_flag_with_a_number(capsys):
    assert flag("2.5") == 2.5
    with pytest.raises(SystemExit):
        flag("4GiB")
    assert "a number of GiB, such as 8, not '4GiB'" in capsys.readouterr().err


def test_iterations_grow_with_the_batches_of_a_step_and_given_ones_stay():
    cfg = Config(
        dict(
            train_cfg=dict(max_iters=100, val_interval=10),
            param_scheduler=[dict(type="LinearLR", by_epoch=False, begin=0, end=20)],
            default_hooks=dict(checkpoint=dict(by_epoch=False, interval=10)),
        )
    )
    scale_iterations(cfg, 4, {"train_cfg.val_interval": 10})
    assert cfg.train_cfg == dict(max_iters=400, val_interval=10)
    assert cfg.param_scheduler[0].end == 80 and cfg.default_hooks.checkpoint.interval == 40


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ("detection/mask_rcnn_convnext_t_3x.py", (800, 1344)),
        ("segmentation/upernet_convnext_t_512_160k.py", (512, 512)),
        ("classification/convnext_t_in1k_300e.py", (224, 224)),
        ("self_supervised/fcmae_convnext_t.py", (224, 224)),
    ],
)
def test_the_largest_images_of_recipes(config, size):
    assert largest_images(Config.fromfile(f"configs/{config}")) == size


def test_small_images_have_as_many_places_as_a_detector_has_queries():
    cfg = Config.fromfile(find_config("dino_convnext_t_12e"))
    small, _ = trial_sizes((480, 640), 32, least_side(cfg))
    assert sum(math.prod(small) // stride**2 for stride in (8, 16, 32, 64)) >= 900
    assert trial_sizes((480, 640), 32)[0] == (160, 224)  # of a detector without queries


@pytest.mark.parametrize("checkpointing", [False, "block"])
def test_a_larger_batch_needs_what_small_steps_predict(checkpointing):
    cfg, size = settled(Case(CLASSIFIER))
    predicted = predict_memory(cfg, size, checkpointing).activations
    model = build_trial_model(cfg, checkpointing)
    recorded = max(record(cfg, model, 16, size).peaks.values())
    assert predicted.peak(16, math.prod(size), gradients=True) == pytest.approx(
        recorded, rel=MARGIN - 1
    )


MINIATURES = [name for name in shipped_configs() if name.endswith("_a_shapes")]


@pytest.mark.slow
@pytest.mark.parametrize("name", MINIATURES)
def test_a_step_of_every_head_with_images_that_are_made_up(name):
    cfg, _ = settled(Case(name))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        curve = record(cfg, build_trial_model(cfg, False), 2, (96, 128))
    assert max(curve.peaks.values()) > 2 * 3 * 96 * 128


@pytest.fixture(scope="module")
def flags(data_root):
    return ["--data-root", data_root, "--seed", 1, "--cfg-options",
            "train_dataloader.dataset.data_root=mini/cls/train",
            "val_dataloader.dataset.data_root=mini/cls/val",
            "auto_scale_lr.base_batch_size=4", "default_hooks.checkpoint.interval=1"]  # fmt: skip


def resolved(work_dir) -> Config:
    return Config.fromfile(work_dir / "convnext_a_shapes.py")


def fitted(**settings) -> tuple[SettledConfig, dict]:
    """The miniature UperNet with a decision for one process, and the decision."""
    settled_config = SettledConfig(load_config(find_config("upernet_convnext_a_shapes")))
    decision = dict(limit_gib=2.0, predicted_gib=1.5, image=[112, 112], processes=1, batch=1,
                    accumulation=2, checkpointing="gelu") | settings  # fmt: skip
    apply_setting(settled_config, decision, "test", {}, refitted=False)
    return settled_config, decision


def test_a_setting_in_a_config_and_back_from_a_checkpoint():
    settled_config, decision = fitted()
    cfg = settled_config.cfg
    assert cfg.train_dataloader.batch_size == 1 and cfg.model.backbone.with_cp == "gelu"
    assert cfg.optim_wrapper.accumulative_counts == 2 and cfg.train_cfg.max_iters == 2 * 9500
    assert kept_setting(dict(meta=dict(cfg=cfg.pretty_text))) == decision
    assert kept_setting(dict(meta=dict(cfg=settled_config.recipe.pretty_text))) is None
    with pytest.raises(UserError, match="cannot be read, so the run's decision"):
        kept_setting(dict(meta=dict(cfg=f"{RECORD} = dict(batch=")))

    again = SettledConfig(settled_config.recipe)
    keep_setting(again, decision, {}, processes=1, refitted=False)
    assert again.cfg.to_dict() == cfg.to_dict()
    with pytest.raises(UserError, match="fitted to memory with optim_wrapper.acc.*=2, .* leave 4"):
        keep_setting(again, decision, {ACCUMULATION: 4}, processes=1, refitted=False)
    with pytest.raises(UserError, match="for 1 processes, and there are 2 now"):
        keep_setting(again, decision, {}, processes=2, refitted=False)


def test_a_run_that_began_without_the_flag_is_not_fitted_later(tmp_path):
    source = tmp_path / "iter_1.pth"
    torch.save(dict(meta=dict(cfg="model = dict(type='Any')\n", iter=1)), source)
    flags = TrainFlags(config=CLASSIFIER, resume=str(source), fit_memory=8.0)
    config = SettledConfig(load_config(find_config(CLASSIFIER)))
    with pytest.raises(UserError, match="iter_1.pth is of a run without --fit-memory"):
        fit_to_memory(config, flags)
    fit_to_memory(config, replace(flags, fit_memory=None))
    assert RECORD not in config.cfg


@pytest.mark.slow
def test_a_run_keeps_its_decision_when_it_is_resumed(data_root, flags, tmp_path):
    one = ["--work-dir", tmp_path, "--max-iters"]
    first = run("train", CLASSIFIER, "--fit-memory", 100, *one, 1, *flags)
    decided = resolved(tmp_path)[RECORD]
    assert "chosen" in first and "64 x 64 pixels" in first
    assert decided.limit_gib < 100 and decided.batch * decided.accumulation == 4

    second = run("train", CLASSIFIER, "--resume", "--fit-memory", 1, *one, 2, *flags)
    assert "--fit-memory, as the run that is resumed" in second and "chosen" not in second
    assert resolved(tmp_path)[RECORD] == decided


def _choose_in_one_of_two(rank: int, limits: list[float], folder) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    settled_config = SettledConfig(settled(Case(CLASSIFIER))[0])
    settled_config.cfg.launcher = "pytorch"
    with contextlib.suppress(UserError):
        said = fit_memory(
            settled_config, limits[rank], {}, processes=2, own_data=False, refitted=False
        )
        (folder / f"{rank}.txt").write_text(said)
        (folder / f"{rank}.json").write_text(json.dumps(settled_config.cfg[RECORD].to_dict()))


def test_processes_take_one_setting_for_the_one_with_the_least_memory(tmp_path):
    run_together(_choose_in_one_of_two, [100.0, 50.0], tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second and 40 < first["limit_gib"] < 50
    assert first["batch"] * first["accumulation"] == 8  # of 16 in two processes


def test_all_processes_refuse_together(tmp_path):
    run_together(_choose_in_one_of_two, [100.0, 0.1], tmp_path)  # none waits for the other
    assert not list(tmp_path.iterdir())


def test_frozen_parts_and_averages_change_the_prediction():
    def standing(change) -> tuple[Standing, int]:
        cfg, _ = settled(Case(CLASSIFIER))
        change(cfg)
        model = build_trial_model(cfg, False)
        weights = sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
        found = standing_bytes(cfg, model, 1)
        assert found.weights % weights == 0
        return found, found.weights // weights

    whole, copies = standing(lambda cfg: None)
    assert copies == 1 and whole.optimizer == 2 * whole.gradients
    averaged, copies = standing(
        lambda cfg: cfg.update(custom_hooks=[dict(type="WeightAverageHook", decay=0.9)])
    )
    assert copies == 2 and averaged.gradients == whole.gradients
    frozen, _ = standing(lambda cfg: cfg.model.backbone.update(frozen_stages=4))
    assert 0 < frozen.gradients < whole.gradients / 100
    pytest.importorskip("peft")
    adapters, _ = standing(lambda cfg: cfg.update(lora=dict(rank=2)))
    assert 0 < adapters.gradients < whole.gradients / 10


@pytest.mark.gpu
@pytest.mark.parametrize("amp", ["off", "bf16"])
@pytest.mark.parametrize("name", [CLASSIFIER, "upernet_convnext_a_shapes", DETECTOR])
def test_a_step_on_a_gpu_needs_what_is_predicted(name, amp):
    wrapper = dict(type="AmpOptimWrapper", dtype="bfloat16") if amp == "bf16" else {}
    case = Case(name, images=8, options={f"optim_wrapper.{k}": v for k, v in wrapper.items()})
    measured = measured_mib(case)
    assert measured == pytest.approx(predicted_mib(case), rel=MARGIN - 1, abs=RESERVE / MIB)
