"""Whether a network can learn eight photographs by heart: every network of the registry, with one recipe.

    python bench/overfit.py [NAME ...] [--steps 400] [--seed 0] [--out bench/results/overfit.json]

The data are the eight AFLW2000-3D sample images of FRNET_SHARED, cut out by their roi boxes, and the parameters in
their ``.mat`` files, turned into those of the crops: pose, the first 40 shape and the first 10 expression coefficients,
whitened as 3DDFA_V2 does. All eight make one batch, whose loss is FRNetLoss with its defaults, on the 68 landmarks of
3DDFA's model; as that balances WPDC anew at every step, Wing is also given alone. The first and the last loss are those
in training mode, before the first step and after the last one; the loss in evaluation, with the running statistics in
place of the batch's, stands beside them. AdamW without weight decay, and one cycle of the learning rate.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import scipy.io
import torch
from torch import Tensor, nn

from frnet import geometry
from frnet.models import create_model, list_models
from frnet.morphable import MorphableModel
from frnet.nn import FRNetLoss

ROOT = Path(__file__).parents[1]
LEARNING_RATE = 1e-3  # at its highest, after a tenth of the steps


class Faces(NamedTuple):
    """Crops with their labels, and the model that the labels are coefficients of."""

    crops: Tensor  # [8, 3, 120, 120], normalised
    whitened: Tensor  # [8, 62]
    morphable: MorphableModel


@dataclass(frozen=True)
class Outcome:
    """A network before and after; all losses in training mode but one."""

    network: str
    steps: int
    first_loss: float
    last_loss: float
    ratio: float
    first_wing: float
    last_wing: float
    last_loss_in_evaluation: float
    seconds: float


def load_faces(shared: Path) -> Faces:
    """The eight images, of which none has a crop that leaves it."""
    folder = shared / "aflw2000-3d-sample"
    truth = np.load(folder / "ground_truth.npz")
    morphable = MorphableModel.from_3ddfa_landmarks(shared / "3ddfa" / "landmark_basis", "v2")
    crops, params = [], []
    for name, roi in zip(truth["names"], truth["roi"].astype(float), strict=True):
        image = cv2.imread(str(folder / name))
        label = scipy.io.loadmat(folder / Path(name).with_suffix(".mat"))
        crops.append(geometry.crop(image, roi))
        coefficients = label["Shape_Para"][:, 0], label["Exp_Para"][:, 0]
        params.append(geometry.params_from_pose_para(label["Pose_Para"][0], *coefficients, roi, image.shape[0]))
    whitened = torch.from_numpy(morphable.whiten(np.stack(params))).float()
    return Faces(torch.from_numpy(geometry.normalize(crops)), whitened, morphable)


def overfit(name: str, model: nn.Module, faces: Faces, steps: int, learning_rate: float = LEARNING_RATE) -> Outcome:
    """Trains the network on the whole batch, so many times."""
    criterion = FRNetLoss(faces.morphable)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    model.train()
    begin = time.perf_counter()
    first = None
    for _ in range(steps):
        parts = criterion(model(faces.crops), faces.whitened)
        first = first or parts
        optimizer.zero_grad()
        parts.loss.backward()
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - begin
    with torch.no_grad():
        last = criterion(model(faces.crops), faces.whitened)
        evaluated = criterion(model.eval()(faces.crops), faces.whitened)
    first_loss, last_loss = first.loss.item(), last.loss.item()
    return Outcome(
        network=name,
        steps=steps,
        first_loss=first_loss,
        last_loss=last_loss,
        ratio=first_loss / last_loss,
        first_wing=first.wing.item(),
        last_wing=last.wing.item(),
        last_loss_in_evaluation=evaluated.loss.item(),
        seconds=seconds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks; default: all of the registry")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    options = parser.parse_args()
    names = options.names or list_models()
    if {"densenet121", "resnext50_32x4d"} & set(names):
        sys.path.insert(0, str(ROOT / "python_tests"))
        from support.torchvision_models import import_torchvision

        import_torchvision()
    faces = load_faces(Path(os.environ.get("FRNET_SHARED", ROOT.parent / "shared" / "data")))
    print(f"{'network':25} {'first':>10} {'last':>10} {'ratio':>8} {'evaluated':>10} {'steps':>6} {'seconds':>8}")
    rows = []
    for name in names:
        torch.manual_seed(options.seed)
        row = overfit(name, create_model(name), faces, options.steps)
        rows.append(asdict(row))
        losses = f"{row.first_loss:10.4f} {row.last_loss:10.4f} {row.ratio:7.0f}x {row.last_loss_in_evaluation:10.4f}"
        print(f"{name:25} {losses} {row.steps:6} {row.seconds:8.1f}", flush=True)
    if options.out:
        options.out.write_text(json.dumps({**environment(options.seed), "overfitting": rows}, indent=1) + "\n")


def environment(seed: int) -> dict:
    """What a run depends on beside its options."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {
        "commit": commit.stdout.strip(),
        "device": "cpu",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "learning_rate": LEARNING_RATE,
    }


if __name__ == "__main__":
    main()
