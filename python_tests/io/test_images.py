"""Images in: every kind of file becomes the same BGR picture, and what is no picture is named."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest

from frnet.io.images import IMAGE_SUFFIXES, MAX_PIXELS, ImageError, check_image, image_size, read_image


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


# How the picture in the file comes to stand upright, by EXIF's number.
UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p),
}


def exif(orientation: int) -> bytes:
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def with_orientation(data: bytes, suffix: str, orientation: int) -> bytes:
    """The file with an EXIF block put into it."""
    block = exif(orientation)
    if suffix == ".jpg":
        segment = b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block
        return data[:2] + segment + data[2:]
    if suffix == ".png":
        chunk = b"eXIf" + block
        return data[:33] + struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    pillow = pytest.importorskip("PIL.Image", reason="pip install pillow")
    out, tags = io.BytesIO(), pillow.Exif()
    tags[0x0112] = orientation
    pillow.open(io.BytesIO(data)).save(out, suffix[1:], exif=tags, **({"lossless": True} if suffix == ".webp" else {}))
    return out.getvalue()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(tmp_path, picture, suffix, orientation):
    path = write(tmp_path / f"turned{suffix}", picture)
    expected = UPRIGHT[orientation](read_image(path))
    path.write_bytes(with_orientation(path.read_bytes(), suffix, orientation))
    np.testing.assert_array_equal(read_image(path), expected)
    assert image_size(path) == expected.shape[1::-1]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_of_an_animation_the_first_frame(tmp_path, picture, suffix):
    pillow = pytest.importorskip("PIL.Image", reason="pip install pillow")
    frames = [pillow.fromarray(np.ascontiguousarray(each[..., ::-1])) for each in (picture, 255 - picture)]
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    if suffix == ".gif" and not cv2.haveImageReader(str(path)):
        pytest.skip("this OpenCV reads no GIF")
    assert np.abs(read_image(path).astype(int) - picture).mean() < 12  # a GIF has 256 colours
    assert image_size(path) == (64, 48)


def test_every_suffix_is_one_that_opencv_decodes(tmp_path, picture):
    """All that OpenCV writes, it reads; what a build lacks is an error of that file, and not passed over."""
    grey = {".pbm": picture[..., 1], ".pgm": picture[..., 1]}
    floating = {suffix: (picture / 255).astype(np.float32) for suffix in (".hdr", ".pic")}
    writable = [suffix for suffix in sorted(IMAGE_SUFFIXES) if cv2.haveImageWriter(f"a{suffix}")]
    assert {".jpg", ".jpe", ".png", ".dib", ".webp", ".tif", ".pnm", ".jp2"} <= set(writable)
    for suffix in writable:
        path = write(tmp_path / f"a{suffix}", (grey | floating).get(suffix, picture))
        assert image_size(path) == (64, 48), suffix
    jpeg = write(tmp_path / "b.jpg", picture)
    assert image_size(jpeg.rename(tmp_path / "b.jfif")) == (64, 48)


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
