"""Trains the face detector on scenes that are put together as they are needed; goes on where it was stopped.

    python tools/train_detector.py --sprites DIR --validation-sprites DIR --pictures DIR --cutouts DIR \\
        --people DIR --points face_points.npz --output DIR [--steps 4500]

``--sprites`` are folders that tools/make_sprites.py filled; ``--pictures`` holds photographs without faces,
``--cutouts`` pictures of things with an alpha channel. ``--people`` is openpeople's folder of people and ``--points``
MediaPipe's points on them, as for tools/make_face_assets.py: all but the character sheets, on which not all faces are
known, are taken as they are. The output holds the resolved settings (``settings.json``), the state from which a run
goes on (``state.pt``), a log (``log.jsonl``), and the averaged weights in half precision
(``face_detector.safetensors``).
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from collections import deque  # noqa: E402

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from face_assets.fit import FACE_MESH_68, is_a_knee  # noqa: E402
from safetensors.torch import save  # noqa: E402

from frnet.datasets.faces.scene_parts import load_cutouts, load_people, load_pictures  # noqa: E402
from frnet.datasets.faces.scenes import Scene, SceneMaker  # noqa: E402
from frnet.datasets.faces.sprites import SpriteStore  # noqa: E402
from frnet.io.files import write_whole  # noqa: E402
from frnet.models.face_detector import FaceDetectorNet, cell_places, decode  # noqa: E402
from frnet.nn import DetectionLoss, DetectionLossParts  # noqa: E402

_VALIDATION = 320  # scenes
_AGAIN = 150  # steps after which scenes are seen a second time, mirrored: making them takes longer than learning
_WARM_UP = 150  # steps
_LEVEL = 0.35  # share of the run at the full rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sprites", "validation-sprites", "pictures", "cutouts", "people", "points", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=256, help="side of the scenes, pixels")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay", type=float, default=0.02)
    parser.add_argument("--average", type=float, default=0.998, help="of the weights, per step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that make scenes; 0: this one")
    parser.add_argument("--report", type=int, default=250, help="steps between validations and saved states")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    arguments.output.mkdir(parents=True, exist_ok=True)
    training, validation = _scene_makers(arguments)
    run = _Run(arguments)
    settings = {name: str(value) for name, value in vars(arguments).items()} | {"network": asdict(run.network.config)}
    write_whole(arguments.output / "settings.json", json.dumps(settings, indent=1).encode())
    scenes = [validation.scene(arguments.seed + 1, index) for index in range(_VALIDATION)]
    run.go(training, scenes)


def _scene_makers(arguments: argparse.Namespace) -> tuple[SceneMaker, SceneMaker]:
    """Of training and of validation: other heads among the same things."""
    pictures = load_pictures(sorted(path for path in arguments.pictures.iterdir() if path.is_file()))
    cutouts = load_cutouts(sorted(arguments.cutouts.iterdir()))
    with np.load(arguments.points) as held:
        names, boxes, points = held["files"], held["boxes"], held["points"]
    files = np.array([name.replace("/", "/assets/") for name in names])
    known = [
        "character" not in name and not is_a_knee(name, box) for name, box in zip(names.tolist(), boxes, strict=True)
    ]
    people = load_people(arguments.people, files[known], points[known][:, FACE_MESH_68])
    parts = {"pictures": pictures, "cutouts": cutouts, "size": arguments.size}
    return (
        SceneMaker(SpriteStore(arguments.sprites), people=people, **parts),
        SceneMaker(SpriteStore(arguments.validation_sprites), people=people[::5], **parts),
    )


class _Scenes(torch.utils.data.Dataset):
    """Step by step, half a batch: images uint8 [n, 3, size, size], faces [M, 7], and which image each is in."""

    def __init__(self, maker: SceneMaker, count: int, seed: int) -> None:
        self._maker, self._count, self._seed = maker, count, seed

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        numbers = range(step * self._count, (step + 1) * self._count)
        return _batch([self._maker.scene(self._seed, number) for number in numbers])


def _batch(scenes: list[Scene]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    images = torch.from_numpy(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2)
    faces = torch.from_numpy(np.concatenate([scene.faces for scene in scenes]))
    return images, faces, torch.repeat_interleave(torch.tensor([len(scene.faces) for scene in scenes]))


def _joined(first: tuple, second: tuple) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch and another one mirrored."""
    faces = second[1].clone()
    faces[:, 0] = second[0].shape[3] - 1 - faces[:, 0]
    faces[:, 5] = -faces[:, 5]
    images = torch.cat([first[0], second[0].flip(3)])
    return images, torch.cat([first[1], faces]), torch.cat([first[2], second[2] + len(first[0])])


class _Run:
    """A training run: its network, its state and its files."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments, self._step = arguments, 0
        self.network = FaceDetectorNet().to(memory_format=torch.channels_last).train()
        self._average = copy.deepcopy(self.network).eval().requires_grad_(False)
        decayed = [parameter for parameter in self.network.parameters() if parameter.ndim > 1]
        plain = [parameter for parameter in self.network.parameters() if parameter.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": arguments.decay}, {"params": plain, "weight_decay": 0.0}]
        self._optimiser = torch.optim.AdamW(groups, arguments.rate, fused=True)
        self._loss = DetectionLoss()
        self._state = arguments.output / "state.pt"
        if self._state.is_file():
            held = torch.load(self._state, weights_only=True)
            self._step = held["step"]
            self.network.load_state_dict(held["network"])
            self._average.load_state_dict(held["average"])
            self._optimiser.load_state_dict(held["optimiser"])

    def go(self, training: SceneMaker, validation: list[Scene]) -> None:
        """Trains up to the last step."""
        arguments, started, first, sums = self._arguments, time.time(), self._step, []
        loader = torch.utils.data.DataLoader(
            _Scenes(training, arguments.batch // 2, arguments.seed),
            batch_size=None,
            sampler=range(self._step, arguments.steps),
            num_workers=arguments.workers,
        )
        earlier: deque = deque(maxlen=_AGAIN)
        for scenes in loader:
            earlier.append(scenes)
            for group in self._optimiser.param_groups:
                group["lr"] = arguments.rate * _rate(self._step, arguments.steps)
            parts = self._losses(self.network, *_joined(scenes, earlier[0] if len(earlier) == _AGAIN else scenes))
            self._optimiser.zero_grad()
            parts.total.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
            self._optimiser.step()
            self._step += 1
            self._follow()
            sums.append([part.item() for part in parts])
            if self._step % arguments.report == 0 or self._step == arguments.steps:
                rate = (self._step - first) * arguments.batch / (time.time() - started)
                self._report({"training": np.mean(sums, 0).round(4).tolist(), "scenes_per_second": round(rate, 1)},
                             validation)  # fmt: skip
                sums = []

    def _losses(
        self, network: FaceDetectorNet, images: torch.Tensor, faces: torch.Tensor, owners: torch.Tensor
    ) -> DetectionLossParts:
        images = ((images.float() - 127.5) / 128).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            planes = network(images)
        places = cell_places([tuple(plane.shape[2:]) for plane in planes])
        return self._loss(decode(planes), *places, faces, owners)

    @torch.no_grad()
    def _follow(self) -> None:
        """Averages the weights, at first over fewer steps."""
        share = 1 - min(self._arguments.average, (1 + self._step) / (10 + self._step))
        for mine, now in zip(self._average.state_dict().values(), self.network.state_dict().values(), strict=True):
            mine.lerp_(now, share) if mine.is_floating_point() else mine.copy_(now)

    @torch.inference_mode()
    def _report(self, line: dict, validation: list[Scene]) -> None:
        batch = self._arguments.batch
        parts = [
            self._losses(self._average, *_batch(validation[n : n + batch])) for n in range(0, len(validation), batch)
        ]
        line = {"step": self._step, **line, "validation": np.mean(parts, 0).round(4).tolist()}
        print(json.dumps(line), flush=True)
        with (self._arguments.output / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        held = {
            "step": self._step,
            "network": self.network.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }
        partial = self._state.with_suffix(".partial")
        torch.save(held, partial)
        partial.replace(self._state)
        tensors = {
            name: value.half().contiguous()
            for name, value in self._average.state_dict().items()
            if value.is_floating_point()
        }
        about = {"architecture": "face_detector", "config": json.dumps(asdict(self.network.config))}
        write_whole(self._arguments.output / "face_detector.safetensors", save(tensors, about))


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate: up, level, and down along a cosine."""
    late = max(0.0, (step / steps - _LEVEL) / (1 - _LEVEL))
    return min(1.0, (step + 1) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * late))


if __name__ == "__main__":
    main()
