"""Misspelt types and settings of a config, named with the nearest right one before all else.

mmengine finds them where it builds the part: the model at the start, an optimizer or a hook after
the data were read, a view of the test after days of training.
"""

import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    EVALUATOR,
    FUNCTIONS,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TASK_UTILS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
    Registry,
)

from convnext_dense.config.options import ALIKE
from convnext_dense.errors import UserError

_DATA = (DATASETS, TRANSFORMS, DATA_SAMPLERS, FUNCTIONS)
# Section of a config -> where its types are registered
SECTIONS: dict[str, tuple[Registry, ...]] = {
    "model": (MODELS, TASK_UTILS),
    **{f"{split}_dataloader": _DATA for split in ("train", "val", "test")},
    **{f"{split}_evaluator": (METRICS, EVALUATOR) for split in ("val", "test")},
    **{f"{split}_cfg": (LOOPS, TASK_UTILS) for split in ("train", "val", "test")},
    "optim_wrapper": (OPTIM_WRAPPERS, OPTIMIZERS),
    "param_scheduler": (PARAM_SCHEDULERS,),
    "default_hooks": (HOOKS,),
    "custom_hooks": (HOOKS,),
    "visualizer": (VISUALIZERS, VISBACKENDS),
    "vis_backends": (VISBACKENDS,),
    "log_processor": (LOG_PROCESSORS,),
    "tta_views": (TASK_UTILS,),
}
# Settings that whoever builds the part takes for himself
TAKEN = {
    "model": ("requires_grad",),  # of norm_cfg
    "default_hooks": ("priority",),
    "custom_hooks": ("priority",),
    "param_scheduler": ("convert_to_iter_based",),
    "optim_wrapper": ("constructor", "paramwise_cfg"),
    "tta_views": (),
}
FUNCTIONS_TOO = ("model", "tta_views")  # types there may be functions without a registry (NMS)
UNCHECKED = ("init_cfg",)  # settings of the weights, which the backbone checks
FAR = 0.6  # and where it may be something else
SOME = 0.4  # likeness that is worth a hint where the name is wrong for certain


def check_types_and_settings(cfg: Config) -> None:
    """Checks every ``dict(type=...)`` of a config against the class it names.

    Raises:
        UserError: For a type that is not registered, or a setting that its class does not know.
    """
    scope = cfg.get("default_scope")
    with MODELS.switch_scope_and_registry(scope):
        pass  # imports the toolbox's registries
    for section, registries in SECTIONS.items():
        for path, node in _typed(cfg.get(section), section):
            found = _find(node["type"], registries, scope)
            if found is not None:
                _check_settings(path, node, found, TAKEN.get(section, ()))
            elif isinstance(node["type"], str):
                _refuse_type(path, node["type"], registries, scope, section not in FUNCTIONS_TOO)
    wrapper = cfg.get("optim_wrapper") or {}
    constructor = wrapper.get("constructor")
    kinds = (OPTIM_WRAPPER_CONSTRUCTORS,)
    if isinstance(constructor, str) and _find(constructor, kinds, scope) is None:
        _refuse_type("optim_wrapper.constructor", constructor, kinds, scope, certain=True)


def _typed(node: Any, path: str) -> Iterator[tuple[str, ConfigDict]]:
    """Every dict with a type inside a node, with its place in the config."""
    if isinstance(node, Mapping):
        if "type" in node:
            yield path, node
        for key, value in node.items():
            if key not in UNCHECKED:
                yield from _typed(value, f"{path}.{key}")
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from _typed(value, f"{path}.{number}")


def _find(kind: Any, registries: tuple[Registry, ...], scope: str | None) -> Any:
    """The class or function behind a type; None where it is not registered."""
    if not isinstance(kind, str):
        return kind
    candidates = (registry.children.get(scope, registry).get(kind) for registry in registries)
    return next((candidate for candidate in candidates if candidate is not None), None)


def _refuse_type(
    path: str, kind: str, registries: tuple[Registry, ...], scope: str | None, certain: bool
) -> None:
    operators = _operators()
    if kind in operators:
        return
    names = set() if certain else set(operators)
    for registry in registries:
        names |= {*registry.module_dict, *registry.children.get(scope, registry).module_dict}
    near = difflib.get_close_matches(kind, sorted(names), n=1, cutoff=SOME if certain else FAR)
    if near or certain:
        nearest = f"; the nearest is {near[0]!r}" if near else ""
        raise UserError(
            f"{path} has the unknown type {kind!r}{nearest}. (A class of your own is registered by "
            "a module that custom_imports names.)"
        )


def _operators() -> set[str]:
    """What mmdet finds by name without a registry: RoI layers, NMS."""
    if importlib.util.find_spec("mmcv") is None:
        return set()
    return set(vars(importlib.import_module("mmcv.ops")))


def _check_settings(path: str, node: ConfigDict, found: Any, taken: tuple[str, ...]) -> None:
    known, open_ended = _settings(found)
    for key in node:
        if key == "type" or key.startswith("_") or key in known or key in taken:
            continue
        near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=ALIKE if open_ended else 0)
        if near:
            raise UserError(
                f"{path}: {found.__name__} has no setting {key!r}; the nearest is {near[0]!r}. It "
                f"has: {', '.join(known)}."
            )
        if not open_ended:
            raise UserError(f"{path}: {found.__name__} has no settings, and so no {key!r}.")


def _settings(found: Any) -> tuple[tuple[str, ...], bool]:
    """Parameters of a class or function, and whether it takes others by ``**kwargs``.

    A class that does takes at least those of its base.
    """
    known: dict[str, None] = {}
    open_ended = False
    functions = [k.__init__ for k in inspect.getmro(found)[:-1] if "__init__" in vars(k)] \
        if inspect.isclass(found) else [found]  # fmt: skip
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return tuple(known), True
        named = (p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
        known.update(dict.fromkeys(name for name in named if name != "self"))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
        open_ended = True
    return tuple(known), open_ended
