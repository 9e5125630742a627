"""The fake packages in the place of the real ones."""

import sys

import pytest

from tests.trackers.fakes import MAKERS, Fake


@pytest.fixture(params=MAKERS)
def fake(request, monkeypatch) -> Fake:
    """Each package in turn, in the place of the real one."""
    package = MAKERS[request.param]()
    monkeypatch.setitem(sys.modules, request.param, package)
    return package
