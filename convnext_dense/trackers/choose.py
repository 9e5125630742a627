"""``--log``: the trackers of a run, in its config."""

from collections.abc import Sequence

from mmengine.config import Config

from convnext_dense.config.config_tree import walk
from convnext_dense.config.settled_config import SettledConfig
from convnext_dense.errors import UserError
from convnext_dense.trackers.packages import PACKAGES, TRACKERS, import_package

NONE = "none"
NAMES = (*TRACKERS, NONE)  # the choices of --log


def settle_trackers(settled: SettledConfig, names: Sequence[str] | None) -> None:
    """Applies ``--log``, and imports what the config logs to before anything is built or written.

    The packages are imported this early because MLflow's import closes the handlers of log files.

    Args:
        settled: The config of a training or a test.
        names: Of :data:`NAMES`; None leaves the config's own trackers, ``none`` takes them out.

    Raises:
        UserError: When a package is missing, or ``none`` stands beside a name.
    """
    with settled.changing("--log") as cfg:
        if names is not None:
            _use(cfg, names)
        kinds = {node.get("type") for node in walk(cfg.get("visualizer") or {})}
        hooks = [hook.get("type") for hook in cfg.get("custom_hooks") or []]
        if kinds & set(TRACKERS.values()) and "TrackerHook" not in hooks:
            cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), dict(type="TrackerHook")]
    for kind in sorted(kinds & set(PACKAGES)):
        import_package(kind)


def _use(cfg: Config, names: Sequence[str]) -> None:
    if NONE in names and len(set(names)) > 1:
        raise UserError("--log none takes all trackers out: give it alone, or leave it out.")
    if "visualizer" not in cfg:
        cfg.visualizer = dict(type="Visualizer", vis_backends=[dict(type="JsonVisBackend")])
    wanted = [TRACKERS[name] for name in dict.fromkeys(names) if name != NONE]
    backends = cfg.visualizer.get("vis_backends") or []
    backends = [backends] if isinstance(backends, dict) else backends
    # One that the config names and sets up stays as it is there.
    kept = [b for b in backends if b["type"] not in TRACKERS.values() or b["type"] in wanted]
    missing = [kind for kind in wanted if kind not in [backend["type"] for backend in kept]]
    cfg.visualizer.vis_backends = [*kept, *(dict(type=kind) for kind in missing)]
