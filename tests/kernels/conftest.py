"""The interpreter of Triton, in this process."""

import pytest


@pytest.fixture
def interpreter(fused_path):
    """Calls a function of `checks` by its name."""
    from tests.kernels import checks

    return lambda name, *arguments: getattr(checks, name)(*arguments)
