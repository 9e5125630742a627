"""From a config with tta_views to a test in several views."""

import pytest

from convnext_dense.config.load import load_config
from convnext_dense.engine.multi_view_test import use_views
from convnext_dense.errors import UserError
from tests.miniature import COCO, SHAPES


@pytest.mark.parametrize("path", [COCO, SHAPES])
def test_the_views_replace_the_resize(path):
    cfg = load_config(path)
    before = [step.type for step in cfg.test_dataloader.dataset.pipeline]
    use_views(cfg)
    after = [step.type for step in cfg.test_dataloader.dataset.pipeline]
    assert before == [after[0], "Resize", *after[1:]]
    assert cfg.test_cfg.type == "MultiViewTestLoop"
    assert cfg.test_cfg.views.resize.keep_ratio is True
    assert [step.type for step in cfg.val_dataloader.dataset.pipeline] == before


def test_the_default_views_of_coco():
    cfg = load_config(COCO)
    assert [short for short, _ in cfg.tta_views.scales] == list(range(400, 1201, 100))
    assert cfg.tta_views.scales[-1] == (1200, 1600) and cfg.tta_views.flip is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tta_views.flips": True}, "DetectionViews has no setting 'flips'; the nearest is 'flip'"),
        ({"tta_views.type": "Views"}, "tta_views does not fit.*Views"),
        ({"tta_views.scales": []}, "tta_views.scales is empty"),
        ({"tta_views.merge.nms.type": "hard"}, "got 'hard'"),
    ],
)
def test_wrong_views_are_one_sentence(options, message):
    with pytest.raises(UserError, match=message):
        use_views(load_config(SHAPES, cfg_options=options))


def test_without_views_or_resize():
    cfg = load_config(SHAPES)
    pipeline = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader.dataset.pipeline = [step for step in pipeline if step.type != "Resize"]
    with pytest.raises(UserError, match="one Resize of the test pipeline; this one has 0"):
        use_views(cfg)
    cfg.pop("tta_views")
    with pytest.raises(UserError, match="no tta_views"):
        use_views(cfg)
