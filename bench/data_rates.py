"""Training samples a second from one worker, beside what the network takes.

    python bench/data_rates.py [--seconds 10] [--out bench/results/data_rates.json]

A worker is one thread: OpenCV and torch have no other. The data sets are made here, in a temporary folder: 300W-LP from
the nine real 450x450 photographs in FRNET_SHARED, 3DDFA's lists from their crops, synthetic faces from the procedural
face. Rates are per second of processor time, so that a busy machine does not change them; the files are in the page
cache, so it is decoding, cropping and drawing that is timed, not the disk. The network is Mobile-FRNet: forward,
backward and an SGD step on 64 crops that are there already, on one thread, times the number of cores, which is more
than it reaches. All take turns, and the medians of their turns are given.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pickle
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

import frnet
from frnet.datasets import (
    AFLW2000,
    AugmentationConfig,
    EpochSampler,
    FaceDataset,
    ProceduralFaces,
    ThreeDDFALists,
    ThreeHundredWLP,
    network_input,
)
from frnet.morphable import MorphableModel

COPIES = 30  # of each photograph
BATCH = 64
TURN = 0.5  # seconds of reading


def make_300w_lp(shared: Path, root: Path) -> Path:
    """The nine photographs and their labels, as a folder of 300W-LP."""
    folder = root / "300W_LP/AFW"
    folder.mkdir(parents=True)
    sources = [*(shared / "aflw2000-3d-sample").glob("image*.jpg"), *(shared / "300w-lp-sample").glob("IBUG*.jpg")]
    for source in sources:
        for copy in range(COPIES):
            for suffix in (".jpg", ".mat"):
                shutil.copy(source.with_suffix(suffix), folder / f"{source.stem}_{copy}{suffix}")
    return folder.parent


def make_lists(crops: FaceDataset, root: Path, whitening: tuple[np.ndarray, np.ndarray]) -> tuple[Path, Path, Path]:
    """3DDFA's three parts, from the crops and labels of a data set."""
    folder = root / "crops"
    folder.mkdir()
    labels = []
    for index in range(len(crops)):
        sample = crops[index]
        cv2.imwrite(str(folder / f"{index}.jpg"), sample.image.numpy())
        labels.append((sample.params.numpy() - whitening[0]) / whitening[1])
    with (root / "param_all_norm.pkl").open("wb") as file:
        pickle.dump(np.float32(labels), file, protocol=2)
    (root / "train.list").write_text("\n".join(f"{index}.jpg" for index in range(len(crops))))
    return root / "param_all_norm.pkl", root / "train.list", folder


def make_sets(shared: Path, root: Path) -> dict[str, FaceDataset | AFLW2000]:
    whitening = shared / "3ddfa/train.configs/param_whitening.pkl"
    model = MorphableModel.from_3ddfa_landmarks(shared / "3ddfa/landmark_basis", whitening)
    raw = ThreeHundredWLP(make_300w_lp(shared, root), model, cache=root)
    pair = (model.param_mean.numpy(), model.param_std.numpy())
    packed = ThreeDDFALists(*make_lists(raw, root, pair), pair, cache=root)
    drawn, kept = ProceduralFaces(256), ProceduralFaces(256, cache=root)
    some = AugmentationConfig()
    return {
        "300W-LP, 450x450 JPEG": raw,
        "300W-LP, 450x450 JPEG, augmented": raw.with_augmentation(some),
        "3DDFA's lists, 120x120 JPEG": packed,
        "3DDFA's lists, 120x120 JPEG, augmented": packed.with_augmentation(some),
        "synthetic faces, drawn": drawn,
        "synthetic faces, cached": kept,
        "synthetic faces, cached, augmented": kept.with_augmentation(some),
        "AFLW2000-3D, 450x450 JPEG, test": AFLW2000(shared / "aflw2000-3d-sample"),
    }


def endless_keys(data: FaceDataset | AFLW2000) -> Iterator[int | tuple[int, int]]:
    for epoch in itertools.count():
        yield from EpochSampler(data, epoch=epoch) if isinstance(data, FaceDataset) else range(len(data))


def reader(data: FaceDataset | AFLW2000) -> Callable[[], int]:
    """Reads one sample after the other for a turn, and says how many."""
    keys = endless_keys(data)

    def turn() -> int:
        end, count = time.perf_counter() + TURN, 0
        while time.perf_counter() < end:
            _ = data[next(keys)]
            count += 1
        return count

    return turn


def trainer() -> Callable[[], int]:
    network = frnet.create_model("mobile_frnet").train()
    optimiser = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9)
    images = torch.randint(0, 256, (BATCH, 120, 120, 3), dtype=torch.uint8)
    target = torch.randn(BATCH, 62)

    def turn() -> int:
        optimiser.zero_grad()
        (network(network_input(images)) - target).square().mean().backward()
        optimiser.step()
        return BATCH

    return turn


def rates(turns: dict[str, Callable[[], int]], seconds: float) -> dict[str, float]:
    """Median of samples a second over the turns of each, taken in rotation."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for turn in turns.values():
        turn()
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds * len(turns) or len(next(iter(found.values()))) < 3:
        for name, turn in turns.items():
            start = time.process_time()
            count = turn()
            found[name].append(count / (time.process_time() - start))
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="for each row")
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    options = parser.parse_args()
    shared = Path(os.environ.get("FRNET_SHARED", Path(__file__).resolve().parents[2] / "shared/data"))
    cores = os.cpu_count() or 1
    torch.manual_seed(0)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        turns = {name: reader(data) for name, data in make_sets(shared, Path(folder)).items()}
        found = rates({"network": trainer(), **turns}, options.seconds)
    network = cores * found.pop("network")
    rows = [{"data": name, "per_second": rate, "ratio": rate / network} for name, rate in found.items()]
    result = {"torch": torch.__version__, "opencv": cv2.__version__, "cores": cores, "network_per_second": network}
    print(f"Mobile-FRNet trains on {network:.0f} crops a second at the most ({cores} cores, batches of {BATCH})")
    for row in rows:
        print(f"{row['data']:42} {row['per_second']:8.0f} a second {row['ratio']:6.1f} x the network")
    if options.out:
        options.out.write_text(json.dumps({**result, "data_rates": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
