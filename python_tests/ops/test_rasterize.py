"""rasterize against every triangle tested at every sample. (Its geometry is tested in render/test_raster.py.)"""

from __future__ import annotations

import pytest
import torch
from support.op_tests import CPU_AND_CUDA

from frnet import ops
from frnet.ops import reference
from frnet.render.raster import rasterize as rasterize_arrays

OPTIONS = {
    "plain": {},
    "culled": {"cull": True},
    "perspective": {"perspective": True},
    "2 samples": {"samples": 2},
    "3 samples": {"samples": 3, "perspective": True},
    "4 samples": {"samples": 4, "cull": True, "shared": True},
}


def scene(batch=2, count=60, size=41, spread=8.0, channels=5, seed=5):
    """Triangles of many sizes in both windings, half of the corners on pixel centres; some are hidden, one is wide."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(batch, count, 1, 3, generator=generator) * (size + 20) - 10
    corners = centre + spread * torch.randn(batch, count, 3, 3, generator=generator)
    vertices = corners.reshape(batch, 3 * count, 3)
    vertices[:, ::2] = vertices[:, ::2].round()
    if count > 9:
        vertices[0, 7, 0], vertices[0, 10, 1], vertices[0, 13, 2] = torch.nan, torch.inf, -torch.inf
        vertices[:, 15:18] = torch.tensor([[-3e4, -3e4, -99], [9e4, -3e4, -99], [-3e4, 9e4, -99]])
    triangles = torch.arange(3 * count, dtype=torch.int32).reshape(count, 3)
    triangles[::3] = triangles[::3].flip(1)
    return vertices, triangles, torch.randn(batch, 3 * count, channels, generator=generator)


def options_for(vertices, attributes, *, perspective=False, shared=False, **options):
    if perspective:
        near = torch.rand(vertices.shape[:2], generator=torch.Generator().manual_seed(1)) + 0.1
        near[:, ::41] = -0.1
        options["inverse_depth"] = near
    return {**options, "attributes": attributes[:1] if shared else attributes}


def on(device, options):
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in options.items()}


@pytest.mark.parametrize("device", CPU_AND_CUDA)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("size", [(41, 41), (1, 7), (7, 1), (33, 70)], ids=str)
def test_it_is_the_reference(options, size, device):
    vertices, triangles, attributes = scene()
    options = options_for(vertices, attributes, **options)
    seen = ops.rasterize(vertices.to(device), triangles.to(device), *size, **on(device, options))
    triangle, depth, weights, image, coverage = (part.cpu() for part in seen)
    expected = reference.rasterize(vertices, triangles, *size, **options)
    assert torch.equal(coverage, expected[4].float())
    # Where two triangles are as near, to float32's last digit, either may be seen.
    same = triangle == expected[0]
    assert same.float().mean() > 0.997
    torch.testing.assert_close(depth[same].double(), expected[1][same], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(weights[same].double(), expected[2][same], rtol=1e-5, atol=1e-5)
    close = ((image - expected[3]).abs() < 1e-4).all(-1)
    assert close.float().mean() > 0.995


def test_the_reference_knows_a_square():
    """Worked out by hand: a square with a corner on pixel centres has its left and top edges, not the others."""
    vertices = torch.tensor([[[1.0, 1, 5], [4, 1, 5], [4, 3, 5], [1, 3, 5]]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    expected = torch.full((5, 6), -1, dtype=torch.int32)
    expected[1, 1:4], expected[2, 1], expected[2, 2:4] = 0, 1, 0
    expected[2, 2] = 1
    for rasterize in (reference.rasterize, ops.rasterize):
        triangle, depth, weights, _, coverage = rasterize(vertices, triangles, 5, 6)
        assert torch.equal(triangle[0], expected)
        torch.testing.assert_close(depth[0].float(), torch.where(expected >= 0, 5.0, 0.0))
        assert torch.equal(coverage[0] == 1, expected >= 0)
        assert torch.equal(weights[0, 1, 1], weights.new_tensor([1, 0, 0]))


@pytest.mark.parametrize("device", CPU_AND_CUDA)
@pytest.mark.parametrize("batch", [1, 3, 150])
def test_any_number_of_threads_gives_the_same_bits(batch, device):
    vertices, triangles, attributes = (part.to(device) for part in scene(batch, 200, 60))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5, 1):
            torch.set_num_threads(count)
            results.append(ops.rasterize(vertices, triangles, 60, 60, attributes=attributes, samples=2))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        for a, b in zip(result, results[0], strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("device", CPU_AND_CUDA)
def test_a_picture_of_many_bands(device):
    """So large that it is drawn in parts."""
    vertices, triangles, attributes = scene(1, 300, 900, spread=40.0, channels=2)
    large = ops.rasterize(
        vertices.to(device), triangles.to(device), 900, 850, attributes=attributes.to(device), samples=2
    )
    for top in (0, 430, 871):
        moved = vertices - torch.tensor([0.0, top, 0.0])
        part = ops.rasterize(moved, triangles, 29, 850, attributes=attributes, samples=2)
        for whole, strip in zip(large, part, strict=True):
            torch.testing.assert_close(whole[:, top : top + 29].cpu(), strip, rtol=0, atol=0)


def test_numpys_door_gives_the_same_bits():
    vertices, triangles, attributes = scene(3)
    options = options_for(vertices, attributes, perspective=True, samples=2)
    arrays = {name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in options.items()}
    seen = rasterize_arrays(vertices.numpy(), triangles.numpy(), 41, 30, **arrays)
    for a, b in zip(ops.rasterize(vertices, triangles, 41, 30, **options), seen, strict=True):
        assert torch.equal(a, torch.from_numpy(b))


@pytest.mark.cuda
def test_cuda_gives_the_bits_of_the_cpu():
    for options in OPTIONS.values():
        vertices, triangles, attributes = scene(3, 400, 90)
        options = options_for(vertices, attributes, **options)
        seen = ops.rasterize(vertices.cuda(), triangles.cuda(), 90, 80, **on("cuda", options))
        for a, b in zip(seen, ops.rasterize(vertices, triangles, 90, 80, **options), strict=True):
            assert torch.equal(a.cpu(), b)


@pytest.mark.cuda
def test_on_cuda_a_triangle_without_a_vertex_is_left_out():
    vertices, triangles, _ = scene()
    wrong = triangles.clone()
    wrong[3, 1], wrong[5, 2] = 180, -1
    keep = [i for i in range(len(triangles)) if i not in (3, 5)]
    seen = ops.rasterize(vertices.cuda(), wrong.cuda(), 41, 41).depth.cpu()
    assert torch.equal(seen, ops.rasterize(vertices, triangles[keep], 41, 41).depth)


def test_strided_arguments():
    vertices, triangles, attributes = scene()
    expected = ops.rasterize(vertices, triangles, 20, 20, attributes=attributes)
    seen = ops.rasterize(
        vertices.mT.contiguous().mT, triangles.T.contiguous().T, 20, 20, attributes=attributes.repeat(1, 1, 2)[..., :5]
    )
    for a, b in zip(seen, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("device", CPU_AND_CUDA)
@pytest.mark.parametrize(
    ("batch", "count", "size"), [(0, 4, (5, 6)), (2, 0, (5, 6)), (2, 4, (0, 6)), (2, 4, (5, 0))], ids=str
)
def test_nothing_to_do(batch, count, size, device):
    vertices, triangles, attributes = (part.to(device) for part in scene(batch, count))
    seen = ops.rasterize(vertices, triangles, *size, attributes=attributes, samples=2)
    assert [part.shape for part in seen] == [(batch, *size), (batch, *size), (batch, *size, 3), (batch, *size, 5),
                                             (batch, *size)]  # fmt: skip
    assert (seen.triangles == -1).all() or count
    assert not (seen.triangles.numel() and count == 0 and seen.coverage.any())


def test_what_is_not_wanted():
    vertices, triangles, _ = scene()
    seen = ops.rasterize(vertices, triangles, 9, 9, barycentrics=False)
    assert seen.barycentrics is None
    assert seen.attributes is None


@pytest.mark.parametrize("device", CPU_AND_CUDA)
def test_opcheck(device):
    vertices, triangles, attributes = (part.to(device) for part in scene(2, 8))
    near = vertices.new_ones(2, 24)
    for tensors in ((attributes, near), (attributes[:1], None), (None, None)):
        torch.library.opcheck(
            torch.ops.frnet.rasterize.default, (vertices, triangles, 12, 9, *tensors, True, 2, tensors[0] is not None)
        )


def test_compile_and_export():
    vertices, triangles, attributes = scene(2, 8)

    def function(v, a):
        seen = ops.rasterize(v, triangles, 12, 9, attributes=a)
        return seen.attributes * 2, seen.coverage

    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for a, b in zip(compiled(vertices, attributes), function(vertices, attributes), strict=True):
        assert torch.equal(a, b)

    class Module(torch.nn.Module):
        def forward(self, v, a):
            return function(v, a)

    exported = torch.export.export(Module(), (vertices, attributes)).module()
    for a, b in zip(exported(vertices, attributes), function(vertices, attributes), strict=True):
        assert torch.equal(a, b)


def test_there_is_no_gradient():
    vertices, triangles, attributes = scene(1, 5)
    seen = ops.rasterize(vertices.requires_grad_(), triangles, 9, 9, attributes=attributes)
    assert not seen.triangles.requires_grad
    with pytest.raises(NotImplementedError, match="rasterize: there is no gradient"):
        seen.attributes.sum().backward()
    with torch.no_grad():
        assert not ops.rasterize(vertices, triangles, 9, 9).depth.requires_grad
    tangent = (torch.ones_like(vertices),)
    with pytest.raises(NotImplementedError, match="rasterize: there is no gradient"):
        torch.func.jvp(lambda v: ops.rasterize(v, triangles, 9, 9).depth, (vertices.detach(),), tangent)
    twins = torch.stack([vertices.detach(), vertices.detach().flip(1)])
    depths = torch.func.vmap(lambda v: ops.rasterize(v, triangles, 9, 9).depth)(twins)
    assert torch.equal(depths[1], ops.rasterize(twins[1], triangles, 9, 9).depth)


def test_under_autocast_it_computes_in_float32():
    vertices, triangles, attributes = scene(1, 5)
    expected = ops.rasterize(vertices, triangles, 9, 9, attributes=attributes.bfloat16().float()).attributes
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = ops.rasterize(vertices, triangles, 9, 9, attributes=attributes.bfloat16())
    assert torch.equal(seen.attributes, expected)


V, T = torch.zeros(2, 3, 3), torch.tensor([[0, 1, 2]], dtype=torch.int32)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"vertices": [[0.0]]}, TypeError, "vertices must be a torch.Tensor"),
        ({"vertices": V[0]}, ValueError, r"vertices must have shape \[batch, vertices, 3\], got \[3, 3\]"),
        ({"vertices": V[..., :2]}, ValueError, r"the last dimension of vertices must be 3, got \[2, 3, 2\]"),
        ({"vertices": V.double()}, TypeError, "vertices must be float32, got float64"),
        ({"vertices": V.to("meta")}, ValueError, "triangles must be on vertices's device meta, got cpu"),
        ({"triangles": T.long()}, TypeError, "triangles must be int32, got int64"),
        ({"triangles": T[:, :2]}, ValueError, r"the last dimension of triangles must be 3, got \[1, 2\]"),
        ({"triangles": T + 1}, ValueError, "triangles must be indices from 0 to 2, got 3"),
        ({"triangles": T - 1}, ValueError, "triangles must be indices from 0 to 2, got -1"),
        ({"attributes": V[:, :2]}, ValueError, r"attributes must have shape \[2 or 1, 3, channels\]"),
        ({"attributes": V.half()}, TypeError, "attributes must be float32, got float16"),
        ({"inverse_depth": V}, ValueError, r"inverse_depth must have shape \[batch, vertices\]"),
        ({"inverse_depth": V[:1, :, 0]}, ValueError, r"inverse_depth must have shape \[2, 3\], got \[1, 3\]"),
        ({"samples": 0}, ValueError, "samples must be at least 1, got 0"),
        ({"samples": 5}, ValueError, "samples must be at most 4, got 5"),
        ({"samples": 1.5}, TypeError, "samples must be an int, got 1.5"),
        ({"height": -1}, ValueError, "height must be at least 0, got -1"),
        ({"width": 20000, "samples": 2}, ValueError, "width must be at most 16384, got 20000"),
        ({"cull": "back"}, TypeError, "cull must be True or False, got 'back'"),
    ],
)
def test_bad_arguments_are_named(changes, error, message):
    arguments = {"vertices": V, "triangles": T, "height": 4, "width": 4, **changes}
    with pytest.raises(error, match=f"rasterize: {message}"):
        ops.rasterize(**arguments)
