"""The command line, called in this process, which saves importing torch every time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from frnet import cli

__all__ = ["caller"]


def caller(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, *command: str) -> Callable:
    """Calls ``frnet COMMAND ARGUMENTS``: its status and what it printed, as ``subprocess.run`` names them."""
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["frnet", *command, *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code or 0
        printed = capfd.readouterr()
        return SimpleNamespace(returncode=status, stdout=printed.out, stderr=printed.err)

    return call
