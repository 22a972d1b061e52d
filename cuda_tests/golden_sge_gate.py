"""Compares the SGE gate of a build, forward and gradients, with golden/sge_reference.npz.

Usage: golden_sge_gate.py EXECUTABLE, the latter built from golden_sge_gate.cpp. The file is looked for in the folder
FRNET_SHARED, by default ../shared/data beside the checkout. Exits with 77, which ctest takes as "skipped", where the
executable cannot run its kernels and, unless FRNET_SHARED is set, without that file or numpy.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SKIPPED = 77
CASES = ("a", "b", "c")
LAYOUTS = ("nchw", "channels_last")
# Of the executable's files, and what the reference calls them.
RESULTS = {"y": "y", "grad_x": "gx", "grad_weight": "gw", "grad_bias": "gb"}
RTOL = 1e-4
# An element may be wrong by as much as this share of the tensor's largest: sums over a group cancel.
ATOL_OF_LARGEST = 1e-5
RELATIVE_L2 = 1e-5


def leave(reason):
    """Skips the test, unless the data were named: then it was meant to run."""
    if "FRNET_SHARED" in os.environ:
        sys.exit(f"FRNET_SHARED is set, but {reason}")
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def to_layout(tensor, layout):
    return tensor if layout == "nchw" else tensor.transpose(0, 2, 3, 1)


def from_layout(values, shape, layout):
    n, c, h, w = shape
    return values.reshape(shape) if layout == "nchw" else values.reshape(n, h, w, c).transpose(0, 3, 1, 2)


def write_cases(folder, golden):
    lines = []
    for case in CASES:
        n, c, h, w = golden[f"{case}_x"].shape
        for index, layout in enumerate(LAYOUTS):
            name = f"{case}_{layout}"
            lines.append(f"{name} {n} {c} {h * w} {int(golden[f'{case}_groups'])} {index}\n")
            for file, key in (("x", "x"), ("grad_y", "r")):
                to_layout(golden[f"{case}_{key}"], layout).astype("<f4").tofile(folder / f"{name}.{file}")
            for key in ("weight", "bias"):
                golden[f"{case}_{key}"].astype("<f4").tofile(folder / f"{name}.{key}")
    (folder / "cases.txt").write_text("".join(lines))


def compare(np, folder, golden):
    """Prints a line per result and returns how many are wrong."""
    wrong = 0
    for case in CASES:
        for layout in LAYOUTS:
            for file, key in RESULTS.items():
                want = golden[f"{case}_{key}"].astype(np.float64)
                got = np.fromfile(folder / f"{case}_{layout}.{file}", "<f4").astype(np.float64)
                got = from_layout(got, want.shape, layout) if key in ("y", "gx") else got.reshape(want.shape)
                error = np.abs(got - want)
                largest = np.abs(want).max()
                relative_l2 = np.linalg.norm(error) / np.linalg.norm(want)
                good = bool((error <= RTOL * np.abs(want) + ATOL_OF_LARGEST * largest).all())
                good = good and relative_l2 <= RELATIVE_L2
                wrong += not good
                print(
                    f"{'ok    ' if good else 'FAILED'} {case} {layout:13} {file:11}"
                    f" largest error {error.max():.2e} of {largest:.3g}, relative L2 {relative_l2:.2e}"
                )
    return wrong


def main():
    try:
        import numpy as np
    except ModuleNotFoundError:
        leave(f"{sys.executable} has no numpy")
    beside_checkout = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("FRNET_SHARED", beside_checkout)) / "golden" / "sge_reference.npz"
    if not path.is_file():
        leave(f"there is no {path}: FRNET_SHARED is the folder that holds golden/")
    golden = dict(np.load(path))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cases(folder, golden)
        code = subprocess.run([sys.argv[1], name], check=False).returncode
        if code != 0:
            sys.exit(code)
        sys.exit(1 if compare(np, folder, golden) else 0)


if __name__ == "__main__":
    main()
