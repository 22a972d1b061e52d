"""A small network learns a few faces by heart, drawn on the spot: no data, no configuration, a plain torch loop.

Run: python examples/train_tiny.py

``frnet train tiny`` does this properly: validation, curves, states to go on from. See docs/training.md.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import frnet
from frnet.datasets import FaceRanges, ProceduralFaces, network_input
from frnet.nn import FRNetLoss
from frnet.weights import Checkpoint, load_checkpoint, save_checkpoint

torch.manual_seed(0)

# Faces with exact labels, drawn once. A real set would be read batch by batch.
data = ProceduralFaces(24, ranges=FaceRanges(yaw=60, pitch=15, roll=15), size=48)
(faces,) = DataLoader(data, batch_size=len(data))
images = network_input(faces.image)  # [24, 3, 48, 48], from -1 to 1
targets = data.morphable.whiten(faces.params)  # [24, 62]

model = frnet.create_model("mobile_frnet", width=0.25, input_size=48)
criterion = FRNetLoss(data.morphable, balance="none")  # WPDC + Wing, on every vertex of the mesh
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=64)

wing = []  # how far the vertices are off, as the Wing loss sees it
for step in range(64):
    parts = criterion(model(images), targets)
    optimizer.zero_grad()
    parts.loss.backward()
    optimizer.step()
    schedule.step()
    wing.append(parts.wing.item())
    if step % 8 == 7:
        print(f"step {step + 1}: Wing {wing[-1]:.2f}")
assert wing[-1] < 0.3 * wing[0], "it did not learn"

# Weights and what belongs to them, in one file; reading it runs nothing.
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "tiny.safetensors")
    whitening = (data.morphable.param_mean, data.morphable.param_std)
    save_checkpoint(path, Checkpoint(model.eval(), whitening=whitening), morphable=data.morphable)
    again = load_checkpoint(path)
    torch.testing.assert_close(again.model(images[:4]), model(images[:4]))
    print(f"saved and read back: {again.architecture}, basis {again.basis}")
