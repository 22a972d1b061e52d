"""3D face alignment: fused C++/CUDA ops, small networks, and the way from a photograph to a face in 3D."""

__version__ = "0.1.0"
