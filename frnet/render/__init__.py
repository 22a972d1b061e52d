"""Pictures of meshes: the rasteriser, drawing over photographs, rendered faces."""

from frnet.render.raster import Raster, rasterize, vertex_normals

__all__ = ["Raster", "rasterize", "vertex_normals"]
