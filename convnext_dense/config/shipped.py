"""The configs that come with this package: of the clone, or of the installed wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent
_IN_CLONE = ROOT / "configs"  # their only source; setup.py puts them into the wheel
IS_CLONE = (ROOT / "setup.py").is_file() and _IN_CLONE.is_dir()
CONFIGS = _IN_CLONE if IS_CLONE else PACKAGE / "configs"


def command_of_test() -> tuple[str, ...]:
    """The first words of a test's command, as it is called from the clone or without one."""
    return ("python", "tools/test.py") if IS_CLONE else ("convnext-dense", "test")
