"""The record of a config's changes: what, from what, why; and the recipe stays as it was."""

from mmengine.config import Config

from convnext_dense.config.settled_config import ABSENT, Change, SettledConfig


def settled() -> SettledConfig:
    return SettledConfig(Config(dict(lr=0.1, hooks=[dict(type="A", n=1)], model=dict(norm="BN"))))


def test_every_kind_of_change_is_recorded():
    config = settled()
    with config.changing("first") as cfg:
        cfg.lr = 0.2
        cfg.hooks[0].n = 2
        cfg.model.pop("norm")
        cfg.seed = None
    assert config.changes == [
        Change("lr", 0.1, 0.2, "first"),
        Change("hooks.0.n", 1, 2, "first"),
        Change("model.norm", "BN", ABSENT, "first"),
        Change("model", ABSENT, {}, "first"),
        Change("seed", ABSENT, None, "first"),
    ]


def test_the_recipe_is_not_changed():
    config = settled()
    with config.changing("first") as cfg:
        cfg.hooks[0].n = 2
    assert config.recipe.hooks[0].n == 1 and config.cfg.hooks[0].n == 2


def test_a_change_of_type_is_one():
    config = settled()
    with config.changing("first") as cfg:
        cfg.hooks[0].n = True  # equal to 1
    assert [(one.before, one.after) for one in config.changes] == [(1, True)]


def test_several_changes_of_a_key_are_one_line():
    config = settled()
    for reason, lr in (("first", 0.2), ("second", 0.3)):
        with config.changing(reason) as cfg:
            cfg.lr = lr
    assert config.final_changes() == [Change("lr", 0.1, 0.3, "second")]
    with config.changing("back") as cfg:
        cfg.lr = 0.1
    assert config.final_changes() == []
