"""Images in: every kind of file becomes the same BGR picture, and what is no picture is named."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from frnet.io.images import MAX_PIXELS, ImageError, check_image, image_size, read_image


@pytest.fixture
def picture(rng):
    small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (64, 48), interpolation=cv2.INTER_CUBIC)


def write(path, image):
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG that states a size and holds no picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp", ".jpg"])
def test_formats(tmp_path, picture, suffix):
    read = read_image(write(tmp_path / f"a{suffix}", picture))
    assert read.dtype == np.uint8
    assert np.abs(read.astype(int) - picture).mean() < 4  # JPEG and WebP lose something


def test_path_may_hold_any_characters(tmp_path, picture):
    path = write(tmp_path / "gesicht ü 顔 [1].png", picture)
    np.testing.assert_array_equal(read_image(str(path)), picture)


def test_grey_alpha_and_16_bit_become_bgr(tmp_path, picture):
    grey = picture[..., 1]
    np.testing.assert_array_equal(read_image(write(tmp_path / "g.png", grey)), np.stack([grey] * 3, -1))
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.png", np.dstack([picture, grey]))), picture)
    deep = picture.astype(np.uint16) * 256 + 5
    np.testing.assert_array_equal(read_image(write(tmp_path / "d.png", deep)), picture)


def test_exif_orientation_is_applied(tmp_path, picture):
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)  # 6: turn clockwise to view
    segment = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    (tmp_path / "turned.jpg").write_bytes(data[:2] + segment + data[2:])
    read = read_image(tmp_path / "turned.jpg")
    expected = cv2.rotate(cv2.imdecode(np.frombuffer(data, np.uint8), 1), cv2.ROTATE_90_CLOCKWISE)
    np.testing.assert_array_equal(read, expected)
    assert image_size(tmp_path / "turned.jpg") == (48, 64)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp", ".jpg"])
def test_the_size_alone(tmp_path, picture, suffix):
    path = write(tmp_path / f"a{suffix}", picture)
    assert image_size(path) == (64, 48)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ImageError, match=rf"image .*a\{suffix} (is truncated|cannot be decoded)"):
        image_size(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_truncated_files(tmp_path, picture, suffix, share):
    path = write(tmp_path / f"cut{suffix}", picture)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError, match=r"image .*cut.* (truncated|cannot be decoded)"):
        read_image(path)


def test_bytes_after_the_picture_do_no_harm(tmp_path, picture):
    for suffix in (".png", ".jpg"):
        path = write(tmp_path / f"a{suffix}", picture)
        expected = read_image(path)
        path.write_bytes(path.read_bytes() + b"\xff\xda trailing")
        np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"no picture at all", "cannot be decoded"),
        (png_header(0, 10), "has no pixels"),
        (png_header(20_000, 20_000), "20000 x 20000 is 400 million pixels, the limit is 268 million"),
        (b"\xff\xd8\xff", "truncated"),
    ],
)
def test_files_that_are_no_usable_image(tmp_path, content, message):
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=f"image .*bad.jpg.*{message}"):
        read_image(tmp_path / "bad.jpg")


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"image .*nowhere\.jpg: no such file"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(FileNotFoundError, match="not a file"):
        read_image(tmp_path)


def test_a_long_side_alone_is_no_fault(tmp_path):
    assert read_image(write(tmp_path / "wide.png", np.zeros((3, 20_000, 3), np.uint8))).shape == (
        3,
        20_000,
        3,
    )


def test_a_good_array_is_passed_on(picture):
    assert check_image(picture) is picture


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (None, TypeError, "got NoneType"),
        (np.zeros((4, 4, 3), np.float32), TypeError, "must be uint8 .* got float32"),
        (np.full((4, 4, 3), np.nan), ImageError, "48 values that are NaN"),
        (np.zeros((4, 4, 3), np.uint16), TypeError, "got uint16"),
        (np.zeros((4, 4), np.uint8), ImageError, r"got \[4, 4\]; cv2.cvtColor"),
        (np.zeros((4, 4, 4), np.uint8), ImageError, r"got \[4, 4, 4\]; cv2.cvtColor"),
        (np.zeros((0, 4, 3), np.uint8), ImageError, r"no pixels \(4 x 0\)"),
        (np.broadcast_to(np.uint8(0), (20_000, 20_000, 3)), ImageError, "too large"),
    ],
)
def test_arrays_that_are_no_image(image, error, message):
    with pytest.raises(error, match=f"picture 7.*{message}"):
        check_image(image, "picture 7")


def test_the_limit_is_what_the_documentation_says():
    assert MAX_PIXELS == 16_384**2
