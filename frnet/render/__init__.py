"""Pictures of meshes: the rasteriser, drawing over photographs, rendered faces."""
