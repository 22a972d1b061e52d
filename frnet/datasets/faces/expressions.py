"""Identity and expression coefficients of ICT-FaceKit as people show them: what faces are drawn from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["draw_expressions", "draw_identities"]

# Expressions that people make, as blendshapes of ICT-FaceKit; a name without a side stands for both.
_SMILE = {"mouthSmile": 1.0, "cheekSquint": 0.5, "mouthDimple": 0.3}
_PRESETS: tuple[dict[str, float], ...] = (
    _SMILE,
    {**_SMILE, "mouthUpperUp": 0.5, "mouthLowerDown": 0.4, "eyeSquint": 0.4, "jawOpen": 0.12},  # showing teeth
    {**_SMILE, "mouthUpperUp": 0.6, "mouthLowerDown": 0.5, "jawOpen": 0.6, "eyeSquint": 0.7, "cheekRaiser": 0.5},
    {"jawOpen": 0.7, "browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.8, "mouthFunnel": 0.3},  # surprise
    {"browInnerUp": 0.9, "eyeWide": 0.9, "mouthStretch": 0.8, "jawOpen": 0.25, "mouthLowerDown": 0.4},  # fear
    {"browDown": 1.0, "noseSneer": 0.5, "eyeSquint": 0.5, "mouthPress": 0.7, "mouthFrown": 0.4},  # anger
    {"browDown": 0.9, "noseSneer": 0.8, "mouthUpperUp": 0.7, "mouthLowerDown": 0.6, "jawOpen": 0.5},  # shouting
    {"noseSneer": 1.0, "mouthUpperUp": 0.7, "browDown": 0.5, "mouthFrown": 0.4, "cheekRaiser": 0.4},  # disgust
    {"mouthFrown": 1.0, "browInnerUp": 0.8, "mouthShrugLower": 0.5},  # grief
    {"mouthPucker": 1.0, "mouthFunnel": 0.3},
    {"mouthFunnel": 0.9, "jawOpen": 0.25},
    {"cheekPuff": 1.0, "mouthPress": 0.4, "mouthClose": 0.05},
    {"mouthRollLower": 0.8, "mouthRollUpper": 0.8, "mouthPress": 0.5},
    {"mouthShrugLower": 0.8, "mouthShrugUpper": 0.7, "mouthFrown": 0.4},
    {"mouthStretch": 0.9, "mouthLowerDown": 0.6, "jawOpen": 0.1},
    {"jawOpen": 1.0, "mouthLowerDown": 0.2, "mouthUpperUp": 0.1},  # yawning
    {"jawOpen": 0.35, "mouthUpperUp": 0.2, "mouthLowerDown": 0.2},  # speaking
    {"browInnerUp": 0.9, "browOuterUp": 0.9},
    {"browDown": 0.9, "eyeSquint": 0.3},
    {"eyeSquint": 0.9, "cheekRaiser": 0.6, "noseSneer": 0.2},
    {"mouthLeft": 0.8, "mouthSmile_L": 0.5},
    {"mouthRight": 0.8, "mouthSmile_R": 0.5},
    {"jawLeft": 0.7},
    {"jawRight": 0.7},
    {"jawForward": 0.8, "mouthShrugLower": 0.3},
)
_LOOKS = ("eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "PupilDilate")
_OPPOSITES = (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight"), ("eyeWide", "eyeBlink"), ("eyeWide", "eyeSquint"))


def draw_identities(rng: np.random.Generator, count: int, components: int = 100, spread: float = 1.35) -> np.ndarray:
    """Identity coefficients, normal; each face has a spread of its own, so that plain and extreme faces both occur.

    Args:
        rng: random numbers.
        count: of faces.
        components: of identity.
        spread: largest standard deviation; the smallest is 0.6. The model's own is 1.

    Returns:
        float32 [count, components].
    """
    scale = rng.uniform(0.6, spread, (count, 1))
    return (rng.standard_normal((count, components)) * scale).astype(np.float32)


def draw_expressions(
    rng: np.random.Generator, count: int, names: Sequence[str], observed: np.ndarray | None = None
) -> np.ndarray:
    """Blendshape weights: calm faces, one or two of the expressions that people make, and odd combinations.

    Args:
        rng: random numbers.
        count: of faces.
        names: of the blendshapes, ``..._L`` and ``..._R`` for those of one side.
        observed: [n, blendshapes] weights measured on pictures; a third of the faces starts from one of them.

    Returns:
        float32 [count, blendshapes], from 0 to 1.1.
    """
    index = {name: column for column, name in enumerate(names)}
    presets = np.stack([_columns(preset, index) for preset in _PRESETS])
    sides = np.array([index.get(_other_side(name), column) for column, name in enumerate(names)])
    kind = rng.random(count)
    weights = np.abs(rng.normal(0, 0.05, (count, len(names))))
    for face in range(count):
        if kind[face] < 0.3:  # calm
            continue
        if kind[face] < 0.55 and observed is not None:
            weights[face] += observed[rng.integers(len(observed))] * rng.uniform(0.6, 1.3)
        elif kind[face] < 0.85:
            for _ in range(rng.integers(1, 3)):
                weights[face] += presets[rng.integers(len(presets))] * rng.beta(1.6, 1.4) * rng.uniform(0.85, 1.15)
        else:
            chosen = rng.choice(len(names), rng.integers(2, 8), replace=False)
            weights[face, chosen] += rng.beta(1.2, 1.6, len(chosen))
            both = chosen[rng.random(len(chosen)) < 0.8]
            weights[face, sides[both]] = weights[face, both] * rng.uniform(0.75, 1.2, len(both))
        if rng.random() < 0.15:
            weights[face, index["jawOpen"]] += rng.beta(1.1, 1.8)
    weights *= rng.uniform(0.85, 1.15, weights.shape)
    weights[:, [index[name] for name in names if name.startswith(_LOOKS)]] = 0
    side, up = rng.normal(0, 0.35, (2, count)).clip(-1, 1)  # where the eyes look: both the same way; lids follow
    looks = {"Out_L": side, "In_R": side, "In_L": -side, "Out_R": -side}
    looks |= {"Up_L": up, "Up_R": up, "Down_L": -up, "Down_R": -up}
    for name, look in looks.items():
        weights[:, index[f"eyeLook{name}"]] = look
    eyes = [index["eyeBlink_L"], index["eyeBlink_R"]]
    weights[:, eyes] += np.where(rng.random((count, 2)) < 0.06, rng.uniform(0.4, 1.0, (count, 2)), 0)
    weights[:, eyes] = np.where(rng.random((count, 1)) < 0.06, rng.uniform(0.8, 1.05, (count, 1)), weights[:, eyes])
    for first, second in _OPPOSITES:
        a, b = _columns({first: 1.0}, index) > 0, _columns({second: 1.0}, index) > 0
        lower = np.minimum(weights[:, a], weights[:, b])
        weights[:, a] -= lower
        weights[:, b] -= lower
    jaw, close = index["jawOpen"], index["mouthClose"]
    weights[:, close] = np.minimum(weights[:, close], weights[:, jaw])  # it undoes an open jaw; alone it tears the lips
    return weights.clip(0, 1.1).astype(np.float32)


def _columns(preset: dict[str, float], index: dict[str, int]) -> np.ndarray:
    weights = np.zeros(len(index))
    for name, value in preset.items():
        for full in (name,) if name in index else (f"{name}_L", f"{name}_R"):
            weights[index[full]] = value
    return weights


def _other_side(name: str) -> str:
    swapped = {"Left": "Right", "Right": "Left", "_L": "_R", "_R": "_L"}
    for end, other in swapped.items():
        if name.endswith(end):
            return name[: -len(end)] + other
    return name
