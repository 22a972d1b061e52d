"""Anybody's landmarks on AFLW2000-3D, measured as the field does, beside the published table.

Run: python examples/evaluate_predictions.py

The predictions here are the true landmarks with noise; yours come from your program. The ground truth is 3DDFA's folder
test.configs.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from frnet.evaluate import PUBLISHED_NME, measure, read_aflw2000_configs, read_predictions

CONFIGS = Path(os.environ.get("FRNET_SHARED", "../shared/data"), "3ddfa/test.configs")

# The ground truth, and predictions in the pixels of the 2000 images: [2000, 68, 2], y down, counting from 1 as it does.
truth = read_aflw2000_configs(CONFIGS)
noise = np.random.default_rng(0).normal(0, 4, (len(truth), 68, 2))
landmarks = truth.points[..., :2] + noise

with tempfile.TemporaryDirectory() as folder:
    # The file that any program can write, and that `frnet evaluate test.configs --predictions FILE` reads too.
    path = Path(folder, "mine.npz")
    np.savez(path, landmarks=landmarks, frame="image", pixel_origin=1, method="truth with noise")
    result = measure(read_predictions(path), truth)

print(f"NME in percent                {'0-30':>7}{'30-60':>7}{'60-90':>7}{'mean':>7}")
for method in PUBLISHED_NME:
    if (row := method.aflw2000) is not None and row.bins is not None:
        print(f"{method.name:30}" + "".join(f"{value:7.2f}" for value in (*row.bins, row.mean)))
print(f"{result.method:30}" + "".join(f"{value:7.2f}" for value in (*result.bins, result.mean)))
print(result.protocol)

# Normal noise of 4 pixels along x and y is a distance of 4 sqrt(pi / 2) = 5.01 pixels on average.
box = np.ptp(truth.points[..., :2], axis=1)
expected = 100 * 4 * np.sqrt(np.pi / 2) / np.sqrt(box.prod(axis=1))
assert abs(result.sample_mean - expected.mean()) < 0.05, (result.sample_mean, expected.mean())
low, high = result.intervals().mean
assert low < result.mean < high
