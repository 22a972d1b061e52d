"""Images in: from a file or as an array, checked so that whatever comes after may rely on them.

Limits: a side of at least 1 pixel, :data:`MAX_PIXELS` pixels in all (a 16,384-pixel square). An image over it
is refused before its pixels are decoded where the header says so (JPEG, PNG).

Files are decoded by OpenCV: grey becomes BGR, an alpha channel is dropped, 16-bit samples keep their upper 8
bits, of an animation the first frame is taken, and the EXIF orientation of JPEG, PNG, WebP and TIFF is applied, so that
pixel coordinates refer to the upright picture. (OpenCV leaves that of AVIF alone.)
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

MAX_PIXELS = 1 << 28
# What OpenCV decodes into 8 bits, if it is built with all its codecs. (Floating-point pictures have no white.)
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif", ".avif"}
    | {".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".sr", ".ras", ".hdr", ".pic"}
)


class ImageError(ValueError):
    """A file or an array that is not a usable image; the message names it."""


def read_image(path: str | os.PathLike) -> Image:
    """Decode an image file; the path may hold any characters.

    Args:
        path: a file in a format OpenCV decodes.

    Returns:
        uint8 [height, width, 3], BGR, upright.

    Raises:
        FileNotFoundError: there is no such file.
        ImageError: empty, truncated, undecodable or over the limits.
    """
    path = Path(path)
    data, _ = _read(path)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"image {path} cannot be decoded: {str(error).strip()}") from error
    if image is None:
        raise ImageError(f"image {path} cannot be decoded: damaged, or not a format OpenCV reads")
    return check_image(image, f"image {path}")


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Width and height of an image file, from its header where that says it (JPEG, PNG).

    Raises:
        FileNotFoundError, ImageError: as :func:`read_image`, except for damage inside a picture that is not decoded.
    """
    path = Path(path)
    data, size = _read(path)
    # The upright size follows from the header alone unless a JPEG or a PNG says that it is turned.
    if size is not None and b"Exif\0\0" not in data and b"eXIf" not in data:
        return size
    height, width = read_image(path).shape[:2]
    return width, height


def check_image(image: object, name: str = "image") -> Image:
    """Make sure of an array that it is a BGR image.

    Args:
        image: uint8 [height, width, 3].
        name: what messages call it.

    Returns:
        ``image`` itself.

    Raises:
        TypeError: no array, or not uint8.
        ImageError: NaN or infinite values, another shape, no pixels, or over the limits.
    """
    if not isinstance(image, np.ndarray):
        raise TypeError(f"{name} must be a path or a uint8 array [height, width, 3], got {type(image).__name__}")
    if np.issubdtype(image.dtype, np.floating) and not np.isfinite(image).all():
        count = int(image.size - np.isfinite(image).sum())
        raise ImageError(f"{name} holds {count} values that are NaN or infinite")
    if image.dtype != np.uint8:
        raise TypeError(f"{name} must be uint8 with values 0 to 255, got {image.dtype}")
    if image.ndim != 3 or image.shape[2] != 3:
        hint = "; cv2.cvtColor turns grey or alpha images into BGR" if image.ndim in (2, 3) else ""
        raise ImageError(f"{name} must be [height, width, 3] in BGR order, got {list(image.shape)}{hint}")
    _check_size(image.shape[1], image.shape[0], name)
    return image


def _check_size(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} is too large: {width} x {height} is {width * height / 1e6:.0f} million pixels, "
            f"the limit is {MAX_PIXELS / 1e6:.0f} million"
        )


def _read(path: Path) -> tuple[bytes, tuple[int, int] | None]:
    """The bytes of a file, and the picture's width and height where its header says them."""
    if not path.is_file():
        raise FileNotFoundError(f"image {path}: {'not a file' if path.exists() else 'no such file'}")
    data = path.read_bytes()
    if not data:
        raise ImageError(f"image {path} is empty (0 bytes)")
    size, complete = _header(data)
    if size is not None:
        _check_size(*size, f"image {path}")
    if not complete:
        raise ImageError(f"image {path} is truncated: the end of the picture is missing")
    return data, size


def _header(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    """Width and height where the header is understood, and whether the file reaches its end marker.

    Decoders differ in what they make of a truncated file (an error, or a picture with a grey lower part), so
    it is found here.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        return struct.unpack(">II", data[16:24]), b"IEND" in data
    if data.startswith(b"\xff\xd8"):
        return _jpeg_header(data)
    return None, True


def _jpeg_header(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    """Walk the segments of a JPEG up to its scan; after it, FF D9 is the end of the picture alone."""
    size, at = None, 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        length = struct.unpack(">H", data[at + 2 : at + 4])[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and at + 9 <= len(data):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            size = (width, height) if height else None  # 0: the height follows the scan
        if marker == 0xDA:
            return size, data.find(b"\xff\xd9", at + 2 + length) >= 0
        at += 2 + length
    return size, False
