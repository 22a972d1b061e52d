"""Images a second of a training run on the CPU, and of the same run in plain torch layers and losses.

    python bench/training_throughput.py [--batch 128] [--turns 7] [--vertices 53215]
                                        [--out bench/results/training_throughput.json]

Mobile-FRNet on synthetic faces (drawn before, read and augmented by one worker each), FRNetLoss with the published sum
on all vertices, SGD and clipping as `frnet train mobile_frnet` has them. The peers are the same network of
torch's own layers (bench/plain_network.py), in both memory formats, with the loss of bench/plain_losses.py, optimised
alike. All begin with the same weights and see the same batches; they take turns of some steps, and the median of the
turns counts.
Before anything is timed, the losses of the first step are compared.

The mesh of the losses has as many vertices as asked for: the Basel Face Model has 53,215; here they are those of the
procedural face, over and over, since the time does not depend on where they lie.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from overfit import environment
from plain_losses import PlainWpdcWing
from plain_network import PlainMobileFRNet
from torch.utils.data import DataLoader

from frnet.datasets import AugmentationConfig, EpochSampler, ProceduralFaces, Sample, init_worker, network_input
from frnet.models import create_model
from frnet.morphable import MorphableModel
from frnet.nn import FRNetLoss
from frnet.train import load_config
from frnet.train.optimisation import build_optimizer

STEPS = 3  # of a turn


def batches(faces: ProceduralFaces, batch: int) -> Iterator[Sample]:
    """Without end; one worker of its own."""
    sampler, epoch = EpochSampler(faces, seed=1), 0
    loader = DataLoader(
        faces,
        batch,
        sampler=sampler,
        num_workers=1,
        worker_init_fn=init_worker,
        drop_last=True,
        persistent_workers=True,
    )
    while True:
        sampler.set_epoch(epoch)
        yield from loader
        epoch += 1


class Contender:
    """A network, its loss and optimiser, and the batches it sees."""

    def __init__(
        self,
        network: torch.nn.Module,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        morphable: MorphableModel,
        data: Iterator[Sample],
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.memory_format = memory_format
        self.network = network.train().to(memory_format=memory_format)
        self.loss, self.morphable, self.data = loss, morphable, data
        config = load_config("mobile_frnet", ["data.root=.", "morphable.path=."])
        self.optimizer, self.gradient_clip = build_optimizer(config.optimizer, network), config.gradient_clip
        self.turns: list[float] = []  # images a second

    def step(self) -> float:
        """One step of the optimiser; the loss."""
        batch = next(self.data)
        images = network_input(batch.image).contiguous(memory_format=self.memory_format)
        target = self.morphable.whiten(batch.params)
        self.optimizer.zero_grad()
        loss = self.loss(self.network(images), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_clip)
        self.optimizer.step()
        return loss.item()

    def take_turn(self, batch: int) -> None:
        """Some steps, timed."""
        begin = time.perf_counter()
        for _ in range(STEPS):
            self.step()
        self.turns.append(STEPS * batch / (time.perf_counter() - begin))


def contenders(faces: ProceduralFaces, vertices: int, batch: int) -> dict[str, Contender]:
    """frnet and its peers, by name."""
    model = faces.morphable.to(dtype=torch.float32)
    landmarks, rest = model.landmarks, torch.arange(vertices - len(model.landmarks)) % model.num_vertices
    morphable = model.subset(torch.cat([landmarks, rest]))
    torch.manual_seed(0)
    network = create_model("mobile_frnet")
    plain_loss = PlainWpdcWing(morphable)

    def published_sum(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        wpdc, wing = plain_loss(pred, target)
        return 0.5 * wpdc.mean() + wing.mean()

    ours = FRNetLoss(morphable, balance="none")
    plain = {name: PlainMobileFRNet().load_from(network) for name in ("plain torch", "plain torch, channels_last")}
    entries = {"frnet": Contender(network, lambda *z: ours(*z).loss, morphable, batches(faces, batch))}
    for name, layers in plain.items():
        memory_format = torch.channels_last if "channels_last" in name else torch.contiguous_format
        entries[name] = Contender(layers, published_sum, morphable, batches(faces, batch), memory_format)
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--vertices", type=int, nargs="+", default=[53_215])
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for vertices in options.vertices:
            faces = ProceduralFaces(8 * options.batch, cache=cache, augmentation=AugmentationConfig())
            entries = contenders(faces, vertices, options.batch)
            first, *others = (entry.step() for entry in entries.values())
            assert all(abs(other - first) < 1e-4 * abs(first) for other in others), (first, others)
            for _ in range(options.turns):
                for entry in entries.values():
                    entry.take_turn(options.batch)
            rates = {name: statistics.median(entry.turns) for name, entry in entries.items()}
            for name, rate in rates.items():
                ratios = [a / b for a, b in zip(entries["frnet"].turns, entries[name].turns, strict=True)]
                faster = statistics.median(ratios)
                row = {"vertices": vertices, "batch": options.batch, "contender": name, "images_per_second": rate}
                rows.append({**row, "frnet_times_faster": faster})
                print(f"{vertices:7} vertices  {name:28} {rate:7.1f} images/s, frnet {faster:.2f}x")
    if options.out:
        options.out.write_text(json.dumps({**environment(0), "throughput": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
