"""Files of all kinds: images, video, meshes, pickles that run nothing, results that appear whole. No torch."""
