"""The packages behind the places that a config logs to; each is imported when it is needed."""

from importlib import import_module
from types import ModuleType

from convnext_dense.errors import UserError

# Type in ``vis_backends`` -> the module that it needs, which pip installs under the same name.
PACKAGES = {
    "ClearMLTracker": "clearml",
    "MLflowTracker": "mlflow",
    "TrackioTracker": "trackio",
    "WandbTracker": "wandb",
    "AimVisBackend": "aim",
    "DVCLiveVisBackend": "dvclive",
    "NeptuneVisBackend": "neptune",
    "TensorboardVisBackend": "tensorboard",
}
# Name in ``--log`` -> type
TRACKERS = {
    "wandb": "WandbTracker",
    "mlflow": "MLflowTracker",
    "clearml": "ClearMLTracker",
    "trackio": "TrackioTracker",
}


def import_package(kind: str) -> ModuleType:
    """Imports what a type of ``vis_backends`` needs.

    Raises:
        UserError: When it is not installed, or its import fails.
    """
    name = PACKAGES[kind]
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise _broken(kind, error) from error
        raise UserError(
            f"{_asked_by(kind)} needs the package {name}, which is not installed: pip install "
            f"{name}, or leave it out."
        ) from error
    except Exception as error:  # a package that is there may fail in any way
        raise _broken(kind, error) from error


def _asked_by(kind: str) -> str:
    flags = {type_: f"--log {name} ({type_} in the config)" for name, type_ in TRACKERS.items()}
    return flags.get(kind, f"{kind} in the config's vis_backends")


def _broken(kind: str, error: Exception) -> UserError:
    name = PACKAGES[kind]
    return UserError(
        f"{_asked_by(kind)}: the package {name} cannot be imported ({type(error).__name__}: "
        f"{error}): install it again with pip install --upgrade {name}, or leave it out."
    )
