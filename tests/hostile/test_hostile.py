"""Whatever the files hold: a step is trained and evaluated, or one sentence says what is wrong.

100 cases here, 2000 more with `make test-slow`, those drawn anew each time.
"""

import gc
import multiprocessing
import shutil
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from convnext_dense.config.load import load_config
from convnext_dense.data.class_names import class_names
from convnext_dense.errors import UserError
from convnext_dense.weights import read_checkpoint
from convnext_dense.weights.checkpoints import check_parts, compare
from tests.hostile import cases, files, harness


def cases_of(few: int, many: int):
    """So many cases in the default suite, the same each time, and so many in the slow one."""
    return pytest.mark.parametrize("number", [few, pytest.param(many, marks=pytest.mark.slow)])


def try_all(strategy, number: int, examine: Callable[[dict, int], None]) -> None:
    """Examines so many cases; the first that fails is made as small as it gets, and shown."""
    numbers = count()

    @settings(
        max_examples=number,
        derandomize=number < 100,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def go(case):
        examine(case, next(numbers))

    go()


@pytest.fixture
def examine(config, tmp_path):
    """Runs a case from files that are written and removed again."""

    def make(task: str, write: Callable[[dict, Path], None]) -> Callable[[dict, int], None]:
        def one(case: dict, number: int) -> None:
            root = tmp_path / str(number)
            try:
                write(case, root / "mini")
                harness.outcome(task, config[task], root, preflight=number % 2 == 0)
            finally:
                shutil.rmtree(root, ignore_errors=True)

        return one

    return make


@cases_of(25, 600)
def test_coco_files(number, examine):
    try_all(cases.coco, number, examine("detection", cases.write_coco))


@cases_of(25, 500)
def test_mutated_coco_files(number, examine):
    try_all(cases.mutations, number, examine("detection", cases.write_mutated_coco))


@cases_of(20, 450)
def test_label_pictures(number, examine):
    try_all(cases.labels, number, examine("segmentation", cases.write_labels))


@cases_of(20, 300)
def test_class_folders(number, examine):
    try_all(cases.classes, number, examine("classification", cases.write_classes))


@cases_of(10, 150)
def test_damaged_checkpoints(number, config, tmp_path):
    """A checkpoint that is read fills the whole model; any other is refused."""
    cfg = load_config(config["detection"])
    cfg.model.roi_head.bbox_head.num_classes = cfg.model.roi_head.mask_head.num_classes = 2
    harness.init_default_scope("mmdet")
    model, _ = harness.build(cfg)
    meta = dict(dataset_meta=dict(classes=("ant", "bee")), epoch=1, iter=2)
    whole = tmp_path / "whole.pth"
    torch.save(dict(state_dict=model.state_dict(), meta=meta), whole)
    data = whole.read_bytes()

    def one(case: dict, number: int) -> None:
        path = tmp_path / "damaged.pth"
        path.write_bytes(files.damage(data, case["how"], case["seed"]))
        with harness.judged("checkpoints"):
            content = read_checkpoint(path)
            check_parts(cfg.model, content, str(path))
            assert class_names(cfg, content, str(path))
            state, differences = compare(model, content)
            if differences:
                raise UserError(f"{path} is another model's: {differences}")
            model.load_state_dict(state)

    try_all(cases.checkpoints, number, one)


def workers_end(before: set[multiprocessing.Process]) -> bool:
    """Whether no process is left a moment later but those of other tests."""
    gc.collect()  # of the refusal's traceback, which holds the loader
    for _ in range(50):
        if set(multiprocessing.active_children()) <= before:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("how", [None, "truncated", "text"])
def test_a_worker_process_ends_and_tells_the_sentence(how, config, tmp_path):
    case = dict(cases.VALID, shape="polygon")
    case["pictures"] = [dict(one, damage=how) for one in case["pictures"]]
    cases.write_coco(case, tmp_path / "mini")
    before = set(multiprocessing.active_children())
    found = harness.outcome("detection", config["detection"], tmp_path, 1, preflight=False)
    if how is None:
        assert found == "trained"
    else:
        assert (
            found.startswith(f"{tmp_path}/mini/images/") and "cannot be read as an image" in found
        )
    assert workers_end(before)
