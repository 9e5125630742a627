"""What hostile data met: counted over the session and printed at its end."""

from pathlib import Path

import pytest

from tests.hostile import configs, harness


@pytest.fixture(scope="session")
def config(tmp_path_factory) -> dict[str, Path]:
    """The tiny config of each task."""
    harness.quiet()
    folder = tmp_path_factory.mktemp("hostile")
    return {task: configs.write_config(task, folder) for task in configs.TEXTS}


def pytest_terminal_summary(terminalreporter):
    """How many cases trained, and how many were refused."""
    if not harness.outcomes:
        return
    for task in sorted({task for task, _ in harness.outcomes}):
        trained, refused = (harness.outcomes[task, what] for what in ("trained", "refused"))
        terminalreporter.write_line(
            f"hostile input, {task}: {trained} trained, {refused} refused with one sentence"
        )
