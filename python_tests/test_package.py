"""The package itself: its names, and what it says where it was not built."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import frnet
from frnet import env

PACKAGE = Path(frnet.__file__).parent


def run(code: str, folder: Path, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A source tree that nobody built: the code, and nothing compiled."""
    (tmp_path / "checkout/frnet").mkdir(parents=True)
    (tmp_path / "checkout/pyproject.toml").touch()
    for entry in PACKAGE.iterdir():
        if entry.suffix != ".so" and entry.name != "__pycache__":
            (tmp_path / "checkout/frnet" / entry.name).symlink_to(entry)
    return tmp_path / "checkout"


@pytest.fixture
def built(tmp_path) -> Path:
    """A folder on the path with a frnet that was built, as far as its files tell."""
    (tmp_path / "site/frnet").mkdir(parents=True)
    (tmp_path / "site/frnet/_ops.so").touch()
    return tmp_path / "site"


@pytest.mark.parametrize("code", ["import frnet.ops", "import frnet.env; frnet.env.main()"])
def test_an_unbuilt_checkout_that_shadows_an_installed_package(checkout, built, code):
    """Which folder stands before which, and three ways out; it said to install what was installed already."""
    result = run(code, checkout, PYTHONPATH=str(built))
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert f"Python imports the source tree {checkout / 'frnet'}, which was not built" in last
    assert f"instead of the frnet in {built / 'frnet'}, because it looks in {checkout} first" in last
    assert (
        f"start Python in another folder, take {checkout} off PYTHONPATH, or build it: pip install -e {checkout}"
        in last
    )


def test_an_unbuilt_checkout_alone(checkout, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(checkout)])
    monkeypatch.setattr(env.metadata, "distributions", lambda **_: [])
    assert env.not_built(checkout / "frnet") == (
        f"frnet: the source tree {checkout} was not built: its compiled parts are missing; "
        f"build it: pip install -e {checkout}"
    )


def test_a_package_that_is_installed_in_place_counts_too(checkout, built, monkeypatch):
    class Installed:
        def read_text(self, name):
            return (
                f'{{"dir_info": {{"editable": true}}, "url": "file://{built}"}}' if name == "direct_url.json" else None
            )

    monkeypatch.setattr(sys, "path", [str(checkout)])
    monkeypatch.setattr(env.metadata, "distributions", lambda **_: [Installed()])
    assert f"instead of the frnet in {built / 'frnet'}" in env.not_built(checkout / "frnet")


def test_an_installation_without_its_compiled_parts(built):
    assert "lacks its compiled parts, so the installation is damaged" in env.not_built(built / "frnet")


def test_names_are_loaded_when_they_are_used():
    code = "import sys, frnet; print('torch' in sys.modules, 'cv2' in sys.modules, frnet.FaceAligner.__module__)"
    result = run(code, PACKAGE.parent)
    assert result.stdout.split() == ["False", "False", "frnet.align.aligner"]
    assert {"FaceAligner", "create_model", "list_models", "align", "train"} <= set(dir(frnet))
    with pytest.raises(AttributeError, match="module 'frnet' has no attribute 'FaceAlinger'"):
        frnet.FaceAlinger  # noqa: B018


def test_train_is_there():
    pytest.importorskip("pydantic", reason="pip install '.[test]'")
    assert callable(frnet.train.train)


def test_types_are_for_others_too():
    assert (PACKAGE / "py.typed").is_file()
