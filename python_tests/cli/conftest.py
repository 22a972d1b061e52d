"""The command line, called in this process."""

from __future__ import annotations

import pytest
from support.commands import caller


@pytest.fixture
def run(monkeypatch, capfd):
    return caller(monkeypatch, capfd)
