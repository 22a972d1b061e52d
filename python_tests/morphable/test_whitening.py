"""Whitenings in all published forms."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from frnet.morphable import identify_whitening, load_whitening


def test_the_published_files(shared):
    v1 = load_whitening(shared / "3ddfa/train.configs/param_whitening.pkl")
    v2 = load_whitening(shared / "3ddfa/weights/param_mean_std_62d_120x120.pkl")
    text = shared / "3ddfa/landmark_basis"
    v1_text = load_whitening((text / "param_mean.txt", text / "param_std.txt"))
    v2_text = load_whitening((str(text / "param_mean_v2.txt"), str(text / "param_std_v2.txt")))
    for whitening in (v1, v2, v1_text, v2_text):
        assert whitening.mean.shape == whitening.std.shape == (62,)
        assert whitening.mean.dtype == np.float64
    np.testing.assert_allclose(v1_text.mean, v1.mean, rtol=0, atol=1e-6)  # six decimals in the text
    np.testing.assert_allclose(v1_text.std[:12], v1.std[:12], rtol=0, atol=1e-6)
    np.testing.assert_allclose(v2_text.mean, v2.mean, rtol=1e-7)
    np.testing.assert_allclose(v2_text.std, v2.std, rtol=1e-7)
    assert identify_whitening(*v1) == identify_whitening(*v1_text) == "3ddfa-v1"
    assert identify_whitening(*v2) == identify_whitening(*v2_text) == "3ddfa-v2"
    assert identify_whitening(*(torch.from_numpy(part).float() for part in v2)) == "3ddfa-v2"
    assert identify_whitening(v1.mean, v2.std) is None
    assert identify_whitening(v1.mean[:32], v1.std[:32]) == "3ddfa-v1"
    assert identify_whitening(v1.mean[:6], v1.std[:6]) is None


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "white.pkl"

    def write(content):
        path.write_bytes(pickle.dumps(content))
        return path

    with pytest.raises(ValueError, match=r"white\.pkl: a whitening has the keys.*got \['a'\]"):
        load_whitening(write({"a": 1}))
    with pytest.raises(ValueError, match=r"white\.pkl: expected a dictionary"):
        load_whitening(write([1, 2]))
    with pytest.raises(ValueError, match=r"white\.pkl: mean and std must have one length.*62 and 61"):
        load_whitening(write({"mean": np.zeros(62), "std": np.ones(61)}))
    with pytest.raises(ValueError, match=r"white\.pkl: mean must be finite and std positive"):
        load_whitening(write({"mean": np.full(62, np.nan), "std": np.ones(62)}))
    with pytest.raises(ValueError, match="std positive"):
        load_whitening((np.zeros(62), np.zeros(62)))
    with pytest.raises(ValueError, match="pair"):
        load_whitening((np.zeros(62),))
    text = tmp_path / "mean.txt"
    text.write_text("1.0\ntwo\n")
    with pytest.raises(ValueError, match=r"mean\.txt: not one number per line"):
        load_whitening((text, text))
    with pytest.raises(FileNotFoundError):
        load_whitening(tmp_path / "absent.pkl")
