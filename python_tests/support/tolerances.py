"""The one table of tolerances: how far a result may be from the same formula in float64 on the same inputs."""

from __future__ import annotations

import torch

# dtype -> kind -> (rtol, atol). Storage rounding alone is 2^-9 for bfloat16 and 2^-12 for float16, relative.
TOLERANCES = {
    torch.float64: {"forward": (1e-12, 1e-12), "gradient": (1e-11, 1e-11)},
    torch.float32: {"forward": (1e-5, 1e-5), "gradient": (1e-4, 1e-4)},
    torch.float16: {"forward": (2e-3, 1e-3), "gradient": (4e-3, 4e-3)},
    torch.bfloat16: {"forward": (1e-2, 5e-3), "gradient": (2e-2, 2e-2)},
}


def assert_close(actual: torch.Tensor, expected: torch.Tensor, kind: str, dtype: torch.dtype | None = None) -> None:
    """Elementwise and, since a missing term can hide below that, as a vector.

    dtype: that of the computation, where it is not actual's.
    """
    rtol, atol = TOLERANCES[dtype or actual.dtype][kind]
    assert actual.shape == expected.shape
    wide = actual.detach().cpu().double()
    expected = expected.detach().cpu().double()
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    torch.testing.assert_close(wide, expected, rtol=rtol, atol=atol * scale)
    # (A vector within atol of zero, as the gradient of a bias in front of a batch normalisation, has no direction.)
    if expected.numel() > 1 and float(expected.norm()) > atol * expected.numel() ** 0.5:
        assert float((wide - expected).norm() / expected.norm()) < rtol
        cosine = torch.nn.functional.cosine_similarity(wide.flatten(), expected.flatten(), dim=0)
        assert float(cosine) > 1 - rtol
