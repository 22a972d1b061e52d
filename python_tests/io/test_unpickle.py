"""load_pickle reads arrays and plain containers, and runs nothing that a file names."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from frnet.io.unpickle import UnpickleError, load_pickle

PLAIN = {
    "number": 3,
    "large": 10**40,
    "real": -0.5,
    "flag": True,
    "none": None,
    "text": "Ångström",
    "bytes": b"\x00\xff",
    "nested": [1, (2, {"three": [3.0]}), set(), {4, 5}, frozenset({6})],
    "bytearray": bytearray(b"ab"),
}


def write(folder: Path, content: bytes) -> Path:
    path = folder / "file.pkl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_containers(tmp_path, protocol):
    content = {k: v for k, v in PLAIN.items() if k != "bytearray" or protocol == 5}
    assert load_pickle(write(tmp_path, pickle.dumps(content, protocol))) == content


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.asfortranarray(np.arange(12, dtype=np.int64).reshape(3, 4)),
        np.array([1.5, -2], dtype=">f8"),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.array(["ab", "c"]),
        np.array([b"ab", b"c"]),
        np.array(3.0),
        np.zeros((0, 3), np.uint16),
    ],
    ids=lambda a: f"{a.dtype}{list(a.shape)}",
)
def test_arrays(tmp_path, protocol, array):
    read = load_pickle(write(tmp_path, pickle.dumps({"a": [array, (array, "x")]}, protocol)))["a"]
    for got in (read[0], read[1][0]):
        assert type(got) is np.ndarray
        assert got.dtype == array.dtype
        assert got.flags.writeable
        np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_scalars_and_dtypes(tmp_path, protocol):
    content = (np.float32(1.25), np.int64(-7), np.bool_(True), np.dtype("<f4"))
    read = load_pickle(write(tmp_path, pickle.dumps(content, protocol)))
    assert read == content
    assert [type(v) for v in read[:3]] == [np.float32, np.int64, np.bool_]


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_python2_pickle_of_either_numpy(tmp_path, module):
    # Protocol 0, array bytes as an 8-bit string with escapes: what Python 2 and NumPy 1 wrote.
    stream = (
        b"(dp0\nS'param_mean'\np1\nc" + module + b"\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\ntp6\n"
        b"Rp7\n(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'f4'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\n"
        b"tp14\nbI00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00\\xc0'\np15\ntp16\nbs."
    )
    read = load_pickle(write(tmp_path, stream))
    assert read["param_mean"].dtype == np.float32
    np.testing.assert_array_equal(read["param_mean"], [1.0, -2.0])


def test_containers_that_hold_themselves(tmp_path):
    loop: list = [np.arange(3)]
    loop.append({"again": loop, "pair": (loop,)})
    read = load_pickle(write(tmp_path, pickle.dumps(loop)))
    assert read[1]["again"] is read
    assert read[1]["pair"][0] is read
    np.testing.assert_array_equal(read[0], np.arange(3))


def test_the_published_files(shared):
    v1 = load_pickle(shared / "3ddfa/train.configs/param_whitening.pkl")
    v2 = load_pickle(shared / "3ddfa/weights/param_mean_std_62d_120x120.pkl")
    assert v1["param_mean"].shape == v1["param_std"].shape == v2["mean"].shape == v2["std"].shape == (62,)
    assert v1["param_mean"][3] == pytest.approx(60.6814, abs=1e-3)
    triangles = load_pickle(shared / "3ddfa/tri.pkl")
    assert triangles.shape == (3, 76073)
    assert triangles.max() == 38364


class Call:
    """Pickles to a call of anything."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Marked:
    touched = False

    def __setstate__(self, state):
        Marked.touched = True

    def __getstate__(self):
        return {"a": 1}


def _system(path):
    return Call(os.system, f"touch {path}")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "hide",
    [
        lambda bomb: bomb,
        lambda bomb: {"mean": np.zeros(3), "std": [1, (2, bomb)]},
        lambda bomb: np.array([bomb, None], dtype=object),
        lambda bomb: Call(np.array, [bomb]),
    ],
    ids=["bare", "nested", "object array", "argument"],
)
def test_no_command_is_run(tmp_path, protocol, hide):
    witness = tmp_path / "ran"
    path = write(tmp_path, pickle.dumps(hide(_system(witness)), protocol))
    with pytest.raises(UnpickleError, match=r"file\.pkl"):
        load_pickle(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Call(eval, "1"), r"builtin.*\.eval"),
        (Call(getattr, "a", "upper"), r"builtin.*\.getattr"),
        (Call(np.load, "x.npy"), r"numpy\.load"),
        (Call(np.fromfile, "/etc/hostname"), r"fromfile"),
        (Call(np.memmap, "x"), r"numpy\.memmap"),
        (Call(__import__, "os"), r"builtin.*\.__import__"),
        (Call(open, "x", "w"), r"open"),
        (collections.OrderedDict(a=1), r"collections\.OrderedDict"),
        (Marked(), r"Marked|_reconstructor"),
        (os.system, r"system"),
        (np.random.default_rng(0), r"numpy\.random"),
        (np.ma.masked_array([1], [True]), r"numpy"),
        (np.zeros(2, "i4,f4"), r"dtype"),
        (np.array([{}, []], dtype=object), r"dtype"),
        (np.array(["2019"], dtype="datetime64[Y]"), r"dtype"),
        (np.dtype("O"), r"dtype"),
        (np.ndarray, r"class"),
        (np.recarray, r"numpy.*recarray"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_what_is_refused_is_named(tmp_path, content, named, protocol):
    path = write(tmp_path, pickle.dumps(content, protocol))
    with pytest.raises(UnpickleError, match=rf"file\.pkl: refused .*{named}"):
        load_pickle(path)
    assert not Marked.touched
    assert not (tmp_path / "x").exists()


def _stream(*lines: bytes) -> bytes:
    stream = b"".join(lines)
    list(pickletools.genops(stream))  # well-formed, so that it is refused for what it does
    return stream


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
F4 = b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR"
V8 = b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR"


@pytest.mark.parametrize(
    "stream",
    [
        # a dtype whose item is larger than its name says: reads beyond the data
        _stream(ARRAY, b"(I1\n(I1\nt", F4, b"(I3\nS'<'\nNNNI1000000\nI1\nI0\ntbI00\nS'abcd'\ntb."),
        # fields placed beyond the item
        _stream(V8, b"(I3\nS'|'\nN(S'a'\nt(S'a'\n(", F4, b"I4096\ntdI8\nI1\nI0\ntb."),
        # a shape that needs more bytes than there are, one that is negative, one that is no number
        _stream(ARRAY, b"(I1\n(I1000\nt", F4, b"I00\nS'abcd'\ntb."),
        _stream(ARRAY, b"(I1\n(I-1\nt", F4, b"I00\nS''\ntb."),
        _stream(ARRAY, b"(I1\n(S'4'\nt", F4, b"I00\nS'abcd'\ntb."),
        _stream(ARRAY, b"(I1\n(L999999999999999999999999L\nt", F4, b"I00\nS'abcd'\ntb."),
        # an array without data, one of a subclass, data that is a list, a state that is no tuple
        _stream(ARRAY, b"."),
        _stream(b"cnumpy.core.multiarray\n_reconstruct\n(S'ndarray'\n(I0\ntS'b'\ntR."),
        _stream(ARRAY, b"(I1\n(I1\nt", F4, b"I00\n(lS'x'\natb."),
        _stream(ARRAY, b"S'state'\nb."),
        # changing the admitted names from within: attributes, slots, an instance without its constructor
        _stream(b"cnumpy\ndtype\n(dS'_call'\nI1\nsb."),
        _stream(b"cnumpy\ndtype\n(N(dS'_call'\nI1\nstb."),
        _stream(b"cnumpy\nndarray\n(dS'x'\nI1\nsb."),
        b"\x80\x02cnumpy\nndarray\n)\x81.",
        b"\x80\x02cnumpy\ndtype\n)\x81.",
        # dotted names, persistent ids, the copyreg gate, an array as a key, encode with a codec that acts
        b"\x80\x04\x8c\x05numpy\x8c\x0bdtype.__new__\x93.",
        b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93.",
        b"\x80\x02U\x02idQ.",
        _stream(b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR."),
        _stream(b"(", ARRAY, b"I1\nd."),
        # a memo number that would make the memo a table of 32 GB
        b"\x80\x02Nr\xff\xff\xff\x7f.",
        _stream(b"c_codecs\nencode\n(S'abc'\nS'rot13'\ntR."),
        _stream(b"c__builtin__\nset\n(I5\ntR."),
        _stream(b"c__builtin__\nbytes\n(I99999999999\ntR."),
        _stream(b"cnumpy.core.multiarray\nscalar\n(S'f4'\nS'abcd'\ntR."),
        _stream(b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O'\nI0\nI1\ntRS'abcd'\ntR."),
    ],
)
def test_hand_made_streams_are_refused(tmp_path, stream):
    with pytest.raises(UnpickleError, match=r"file\.pkl"):
        load_pickle(write(tmp_path, stream))


def test_a_file_cannot_spoil_the_next_one(tmp_path):
    bad = _stream(b"cnumpy.core.multiarray\n_reconstruct\n(N(dS'_call'\ncnumpy\ndtype\nstb.")
    with pytest.raises(UnpickleError):
        load_pickle(write(tmp_path, bad))
    np.testing.assert_array_equal(load_pickle(write(tmp_path, pickle.dumps(np.arange(3)))), np.arange(3))


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_every_truncation_is_an_error(tmp_path, protocol):
    whole = pickle.dumps({"mean": np.arange(4, dtype=np.float32), "names": ["a", "b"]}, protocol)
    for length in range(len(whole)):
        with pytest.raises(UnpickleError, match=r"file\.pkl"):
            load_pickle(write(tmp_path, whole[:length]))


def test_garbage_is_an_error_or_plain(tmp_path, rng):
    whole = bytearray(pickle.dumps({"mean": np.arange(4, dtype=np.float32)}, 2))
    for _ in range(300):
        damaged = whole.copy()
        damaged[rng.integers(len(whole))] = rng.integers(256)
        with contextlib.suppress(UnpickleError):  # any other exception fails the test
            load_pickle(write(tmp_path, bytes(damaged)))


def test_deep_nesting_is_an_error(tmp_path):
    with pytest.raises(UnpickleError, match=r"file\.pkl"):
        load_pickle(write(tmp_path, b"(" + b"(l" * 200_000 + b"a" * 199_999 + b"."))


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        load_pickle(tmp_path / "absent.pkl")
