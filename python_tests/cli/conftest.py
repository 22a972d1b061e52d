"""The command line, called in this process."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from frnet import cli


@pytest.fixture
def run(monkeypatch, capfd):
    """Calls the command in this process, which saves importing torch every time."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["frnet", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code or 0
        printed = capfd.readouterr()
        return SimpleNamespace(returncode=status, stdout=printed.out, stderr=printed.err)

    return call
