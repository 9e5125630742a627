"""``--fit-memory``: what is chosen, what it changes in a config, and that predictions hold."""

import math

import pytest
import torch
from mmengine.config import Config

from convnext_dense.benchmark.training_memory import Case, _config_of
from convnext_dense.errors import UserError
from convnext_dense.preflight.memory.choice import GIB, Split, choose, possible_splits
from convnext_dense.preflight.memory.fit import scale_iterations, usable_bytes
from convnext_dense.preflight.memory.image_size import largest_images
from convnext_dense.preflight.memory.prediction import (
    MARGIN,
    build_trial_model,
    predict_memory,
    record,
)
from convnext_dense.runs import AUTO


def predictor(kind):
    share = {False: 1.0, "gelu": 0.8, "block": 0.4}[kind]
    return lambda split: share * split.batch * GIB


@pytest.mark.parametrize(
    ("usable", "kind", "batch"), [(18, False, 16), (9, False, 8), (1, "gelu", 1), (0.5, "block", 1)]
)
def test_the_least_checkpointing_then_the_largest_batch(usable, kind, batch):
    chosen = choose(possible_splits(16), (False, "gelu", "block"), predictor, usable * GIB).chosen
    assert (chosen.checkpointing, chosen.split) == (kind, Split(batch, 16 // batch))


def test_what_does_not_fit_is_refused_with_what_is_missing():
    with pytest.raises(UserError, match=r"need 0\.44 GiB .* 0\.24 GiB more .*--freeze"):
        choose(possible_splits(16), (False, "gelu", "block"), predictor, 0.2 * GIB)


def test_a_cpu_needs_a_number():
    if torch.cuda.is_available():
        pytest.skip("a GPU tells what it has free")
    with pytest.raises(UserError, match="needs a number on a CPU"):
        usable_bytes(AUTO)


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


@pytest.mark.parametrize("checkpointing", [False, "block"])
def test_a_larger_batch_needs_what_small_steps_predict(checkpointing):
    cfg, size = _config_of(Case("configs/classification/convnext_a_shapes.py"))
    predicted = predict_memory(cfg, size, checkpointing).activations
    model = build_trial_model(cfg, checkpointing)
    recorded = max(record(cfg, model, 16, size).peaks.values())
    assert predicted.peak(16, math.prod(size), gradients=True) == pytest.approx(
        recorded, rel=MARGIN - 1
    )
