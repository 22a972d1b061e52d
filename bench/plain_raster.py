"""A rasteriser of whole-array NumPy operations, as one writes it without a compiler: the peer of test_rasterize.py."""

import numpy as np

_EDGE = -1e-4  # a pixel on the edge of two triangles belongs to both, so that no gap is left between them


def rasterize(vertices, triangles, height, width, attributes):
    """Attributes at the pixels of the nearest triangles seen from outside, and which pixels see one."""
    x, y, z = np.ascontiguousarray(vertices.T, np.float32)
    corners = triangles.T
    (x0, x1, x2), (y0, y1, y2) = x[corners], y[corners]
    area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    left, columns = _span(x0, x1, x2, width)
    top, rows = _span(y0, y1, y2, height)
    chosen = np.flatnonzero((columns * rows > 0) & (area < 0))  # y is down
    x0, y0, x1, y1, x2, y2, area, left, top, columns, rows = (
        part[chosen] for part in (x0, y0, x1, y1, x2, y2, area, left, top, columns, rows)
    )
    z0, z1, z2 = z[corners[:, chosen]]
    # The weights of corners 1 and 2 are linear in the place inside the bounding box: start + dx x + dy y.
    dx1, dy1, dx2, dy2 = (y2 - y0) / area, (x0 - x2) / area, (y0 - y1) / area, (x1 - x0) / area
    first_x, first_y = left.astype(np.float32) - x0, top.astype(np.float32) - y0
    start1, start2 = dx1 * first_x + dy1 * first_y, dx2 * first_x + dy2 * first_y

    count = columns * rows
    owner = np.repeat(np.arange(len(chosen)), count)  # the triangle of every candidate pixel
    step = np.arange(len(owner), dtype=np.int32) - (np.cumsum(count, dtype=np.int32) - count)[owner]
    columns = columns[owner]
    row = step // columns
    column = step - row * columns
    x, y = column.astype(np.float32), row.astype(np.float32)
    second = start1[owner] + dx1[owner] * x + dy1[owner] * y
    third = start2[owner] + dx2[owner] * x + dy2[owner] * y
    first = 1 - second - third
    inside = np.flatnonzero((first >= _EDGE) & (second >= _EDGE) & (third >= _EDGE))

    owner, weights = owner[inside], np.stack([first[inside], second[inside], third[inside]], 1)
    pixel = (top * width + left)[owner] + row[inside] * width + column[inside]
    depth = weights[:, 0] * z0[owner] + weights[:, 1] * z1[owner] + weights[:, 2] * z2[owner]
    nearest = np.full(width * height, -np.inf, np.float32)
    np.maximum.at(nearest, pixel, depth)
    front = np.flatnonzero(depth == nearest[pixel])
    winner = np.full(width * height, -1, np.int64)
    winner[pixel[front]] = front
    pixels = np.flatnonzero(winner >= 0)
    winner = winner[pixels]
    corner = attributes[triangles[chosen[owner[winner]]]]
    image = np.zeros((height, width, attributes.shape[1]), np.float32)
    image.reshape(-1, attributes.shape[1])[pixels] = np.einsum("pk,pkc->pc", weights[winner], corner)
    return image, (nearest > -np.inf).reshape(height, width)


def _span(a, b, c, extent):
    """The first pixel centre inside three coordinates, and how many there are; int32 [T] each."""
    low = np.ceil(np.minimum(np.minimum(a, b), c)).clip(0, extent).astype(np.int32)
    high = np.floor(np.maximum(np.maximum(a, b), c)).clip(-1, extent - 1).astype(np.int32)
    return low, np.maximum(high - low + 1, 0)
