"""Arrays mapped from a file, and the index that is kept in one."""

from __future__ import annotations

import pickle
import resource
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

from frnet.datasets import IndexReport, Skipped
from frnet.datasets.index import cache_folder, fingerprint, open_index
from frnet.datasets.packed import MappedNpy, PackedArrays, PackedStrings, pack_strings


@pytest.fixture
def stored(tmp_path, rng):
    arrays = {"a": rng.normal(size=(5, 3)).astype(np.float32), "b": np.arange(4), "c": np.zeros((0, 2), np.float32)}
    return PackedArrays.write(tmp_path / "sub/a.safetensors", arrays, {"k": "v"}), arrays


def test_the_file_is_safetensors(stored):
    packed, arrays = stored
    theirs = safetensors.numpy.load_file(packed.path)
    assert set(packed) == set(arrays) == set(theirs)
    for name, array in arrays.items():
        np.testing.assert_array_equal(packed[name], array)
        np.testing.assert_array_equal(theirs[name], array)
        assert packed[name].dtype == array.dtype
    assert packed.metadata == {"k": "v"}
    assert not packed["a"].flags.writeable
    assert [path.name for path in packed.path.parent.iterdir()] == ["a.safetensors"]


def test_the_same_arrays_are_the_same_bytes(tmp_path):
    metadata = {name: name for name in "qwertz"}
    files = [PackedArrays.write(tmp_path / f"{n}.safetensors", {"x": np.arange(9.0)}, metadata).path for n in range(5)]
    assert len({path.read_bytes() for path in files}) == 1


def test_pickles_hold_the_path_alone(tmp_path):
    packed = PackedArrays.write(tmp_path / "a.safetensors", {"a": np.zeros((1000, 1000), np.float32)}, {})
    sent = pickle.dumps(packed)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent)["a"], packed["a"])
    PackedArrays.write(tmp_path / "a.safetensors", {"a": np.zeros(1)}, {"other": "data"})
    with pytest.raises(RuntimeError, match=r"a\.safetensors was written anew"):
        pickle.loads(sent)
    np.save(tmp_path / "b.npy", np.ones((500, 500)))
    mapped = MappedNpy(tmp_path / "b.npy")
    assert len(pickle.dumps(mapped)) < 300
    assert pickle.loads(pickle.dumps(mapped)).array[3, 4] == 1


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 64, b"\x10\0\0\0\0\0\0\0" + b"x" * 40])
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.safetensors: (not|a damaged) "):
        PackedArrays(tmp_path / "a.safetensors")
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npy: not a readable"):
        MappedNpy(tmp_path / "a.npy")


def test_a_file_cut_short_is_found(stored):
    packed, _ = stored
    packed.path.write_bytes(packed.path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="damaged safetensors"):
        PackedArrays(packed.path)


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # as large as a file may be
    try:
        with pytest.raises(OSError, match=r"a\.safetensors"):
            PackedArrays.write(tmp_path / "a.safetensors", {"a": np.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_strings(rng):
    words = ["a.jpg", "", "IBUG/ü 顔.png", "\udcff raw byte", "z" * 300]
    names = PackedStrings(*pack_strings(words))
    assert list(names) == words
    assert names[-1] == words[-1]
    with pytest.raises(IndexError):
        names[5]


def test_a_name_takes_some_tens_of_bytes():
    """Of the 636,252 names of 3DDFA's list, a tenth."""
    tracemalloc.start()
    text, ends = pack_strings([f"AFW_GT_134212_{i % 9}_{i:06d}.jpg" for i in range(63_625)])
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 3e6
    assert PackedStrings(text, ends)[63_624] == f"AFW_GT_134212_{63_624 % 9}_063624.jpg"


def test_fingerprints_tell_files_and_arrays_apart(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    before = fingerprint(path)
    assert fingerprint(path) == before
    path.write_text("another")
    assert fingerprint(path) != before
    assert fingerprint(np.zeros(2)) != fingerprint(np.zeros(2, np.float32)) != fingerprint(np.zeros((1, 2), np.float32))


def test_an_index_is_made_once_and_again_when_it_is_stale(tmp_path, caplog):
    calls = []

    def build():
        calls.append(1)
        return {"x": np.arange(3.0)}, IndexReport(4, (Skipped("ü.jpg", "no .mat file"),))

    path = tmp_path / "index.safetensors"
    for wanted, count in (("a", 1), ("a", 1), ("b", 2), ("b", 2)):
        stored, report = open_index(path, wanted, build)
        assert len(calls) == count
        assert stored["x"].tolist() == [0, 1, 2]
        assert report == IndexReport(4, (Skipped("ü.jpg", "no .mat file"),))
    path.write_bytes(b"broken")
    open_index(path, "b", build)
    assert len(calls) == 3
    assert "made anew" in caplog.text


def test_no_sample_at_all(tmp_path):
    report = IndexReport(7, tuple(Skipped(f"{i}.jpg", "no .mat file") for i in range(7)))
    with pytest.raises(ValueError, match=r"(?s)no sample.*0 of 7.*0\.jpg: no \.mat file.*and 2 more"):
        open_index(tmp_path / "i.safetensors", "a", lambda: ({}, report))
    assert not list(tmp_path.iterdir())


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / "frnet"
    assert cache_folder("here").name == "here"
