"""The network with everything behind it as one ONNX file, run by onnxruntime: a runtime without torch.

Run: python examples/export_onnx.py      (pip install 'frnet[export]' onnxruntime)
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from frnet import export, geometry
from frnet.align import FaceAligner, read_image
from frnet.morphable import open_morphable
from frnet.weights import load_checkpoint

SHARED = Path(os.environ.get("FRNET_SHARED", "../shared/data"))
MODEL = open_morphable(SHARED / "3ddfa/bfm_grid64_basis.npz", SHARED / "3ddfa/landmark_basis")
(DETECTOR,) = (SHARED / "yunet").glob("*.onnx")
checkpoint = load_checkpoint(SHARED / "3ddfa/weights/mb05_120x120.pth")
image = read_image(SHARED / "photos/4.jpg")

# Where the faces are, and what they should come out as: ours.
aligner = FaceAligner(checkpoint, MODEL, detector=DETECTOR)
faces = aligner(image)
rois = np.stack([face.roi for face in faces])

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "aligner.onnx")
    export.to_onnx(checkpoint, path, aligner.morphable)
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

# All that is left to do around the network is NumPy: crops going in, a scale and a shift coming out.
crops = geometry.normalize(np.stack([geometry.crop(image, roi) for roi in rois]))
params, landmarks = session.run(["params", "landmarks"], {"crops": crops})
scale = (rois[:, 2:] - rois[:, :2])[:, None] / crops.shape[-1]
landmarks = landmarks[..., :2] * scale + rois[:, None, :2]

for face, ours in zip(faces, landmarks, strict=True):
    off = np.abs(ours - face.landmarks[:, :2]).max()
    print(f"yaw {face.pose.yaw:.1f}: onnxruntime and FaceAligner differ by {off:.4f} pixels at most")
    assert off < 0.05
np.testing.assert_allclose(geometry.pose_angles(params), [face.pose for face in faces], atol=0.01)
