"""open_morphable tells the formats apart by what they contain."""

from __future__ import annotations

import numpy as np
import pytest

from frnet.morphable import MorphableModel, open_morphable


def test_every_format_at_hand(shared, files, grid, tmp_path):
    assert open_morphable(files.landmarks).num_vertices == 68
    assert open_morphable(files.grid, files.landmarks).num_vertices == 4164
    assert open_morphable(shared / "ict-facekit/ict_face_model_light.npz").num_vertices == 26719
    grid.save(tmp_path / "grid.safetensors")
    assert open_morphable(str(tmp_path / "grid.safetensors")).num_vertices == 4164
    assert open_morphable("builtin").name == MorphableModel.builtin().name


def test_a_grid_alone_has_no_landmarks(files):
    with pytest.raises(ValueError, match=r"bfm_grid64_basis\.npz is a grid without landmarks: also give landmarks="):
        open_morphable(files.grid)


def test_what_is_no_model(tmp_path, files):
    with pytest.raises(FileNotFoundError, match="nowhere: no such file or folder"):
        open_morphable(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is a folder of none of the known formats"):
        open_morphable(tmp_path)
    with pytest.raises(ValueError, match=r"4\.jpg is none of the known formats"):
        open_morphable(files.photo)
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04garbage")
    with pytest.raises(ValueError, match=r"bad\.npz is not a readable \.npz archive"):
        open_morphable(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz is none of the known formats"):
        open_morphable(tmp_path / "other.npz")
