"""Any picture becomes the same bytes, the right way up and on its own range of grey."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpulr.images import find_images, load_image, load_images

FLOWER = Path(str(files("sklearn.datasets.images") / "flower.jpg"))  # 427×640 pixels


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def rgb(height: int = 4, width: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("extension", ["png", "bmp", "tif", "ppm", "tga"])
def test_pixels_at_their_own_size_are_untouched(tmp_path, extension):
    image = load_image(save(tmp_path / f"a.{extension}", rgb()), (4, 6, 3))
    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_array_equal(image, rgb())


@pytest.mark.parametrize("image_shape", [(64, 64, 3), (64, 64, 1), (64, 64), (20, 30, 3)])
def test_photograph(image_shape):
    image = load_image(FLOWER, image_shape)
    assert image.shape == image_shape
    with Image.open(FLOWER) as photograph:
        whole = np.asarray(photograph.convert("RGB" if image_shape[2:] == (3,) else "L"))
    np.testing.assert_allclose(image.mean(axis=(0, 1)).ravel(), whole.mean(axis=(0, 1)).ravel(), atol=1)


def test_stripes_become_grey(tmp_path):
    """Every pixel counts when a picture shrinks; picking one in eight would give stripes or one of the two."""
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 254
    image = load_image(save(tmp_path / "a.png", stripes), (8, 8))
    np.testing.assert_allclose(image[:, 1:-1], 127, atol=2)


def test_grey_and_colour(tmp_path):
    grey = save(tmp_path / "grey.png", rgb()[:, :, 0])
    np.testing.assert_array_equal(load_image(grey, (4, 6, 3)), np.repeat(rgb()[:, :, :1], 3, axis=2))
    luma = load_image(save(tmp_path / "colour.png", rgb()), (4, 6))
    np.testing.assert_allclose(luma, rgb() @ [0.299, 0.587, 0.114], atol=1)
    np.testing.assert_array_equal(load_image(tmp_path / "colour.png", (4, 6, 1))[:, :, 0], luma)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_the_camera(tmp_path, orientation):
    """EXIF says how the stored pixels are to be turned; undone here by NumPy."""
    turns = [lambda a: a, np.fliplr, lambda a: a[::-1, ::-1], np.flipud, lambda a: a.swapaxes(0, 1)]
    turns += [lambda a: np.rot90(a, -1), lambda a: a[::-1, ::-1].swapaxes(0, 1), np.rot90]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", rgb(), exif=exif.tobytes())
    upright = turns[orientation - 1](rgb())
    np.testing.assert_array_equal(load_image(path, upright.shape), upright)


@pytest.mark.parametrize("extension", ["png", "tif", "pgm"])
def test_grey_of_16_bits_is_scaled_not_clipped(tmp_path, extension):
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    np.testing.assert_array_equal(load_image(save(tmp_path / f"a.{extension}", deep), (1, 4)), [[0, 1, 128, 255]])
    assert load_image(tmp_path / f"a.{extension}", (1, 4, 3)).tolist() == [[[v] * 3 for v in (0, 1, 128, 255)]]


def test_grey_in_floats_and_wide_integers(tmp_path):
    unit = save(tmp_path / "f.tif", np.array([[0, 0.5, 1]], np.float32))
    assert load_image(unit, (1, 3)).tolist() == [[0, 128, 255]]
    wide = save(tmp_path / "i.tif", np.array([[0, 32896, 65535]], np.int32))
    assert load_image(wide, (1, 3)).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(
    "pixels",
    [
        np.array([[0, 70000]], np.int32),
        np.array([[-1, 3]], np.int32),
        np.array([[0, 200]], np.float32),
        np.array([[0, np.nan]], np.float32),
    ],
)
def test_grey_of_an_unknown_range(tmp_path, pixels):
    path = save(tmp_path / "a.tif", pixels)
    with pytest.raises(ValueError, match=r"a\.tif: its pixels run from .* is read as grey from 0 to"):
        load_image(path, (1, 2))


def test_transparent_is_white(tmp_path):
    pixels = np.array([[[200, 0, 0, 0], [200, 0, 0, 255], [0, 0, 0, 127]]], np.uint8)
    expected = [[[255, 255, 255], [200, 0, 0], [128, 128, 128]]]
    assert load_image(save(tmp_path / "rgba.png", pixels), (1, 3, 3)).tolist() == expected

    grey = np.array([[[7, 0], [7, 255]]], np.uint8)
    assert load_image(save(tmp_path / "la.png", grey), (1, 2)).tolist() == [[255, 7]]

    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    palette.save(tmp_path / "p.png", transparency=0)
    assert load_image(tmp_path / "p.png", (1, 2, 3)).tolist() == [[[255, 255, 255], [40, 50, 60]]]
    palette.save(tmp_path / "bytes.png", transparency=bytes([0, 255]))
    assert load_image(tmp_path / "bytes.png", (1, 2, 3)).tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_cmyk_and_one_bit(tmp_path):
    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert load_image(tmp_path / "a.tif", (2, 2, 3)).tolist() == [[[255, 0, 0]] * 2] * 2
    Image.new("1", (2, 2), 1).save(tmp_path / "b.png")
    assert load_image(tmp_path / "b.png", (2, 2)).tolist() == [[255, 255]] * 2


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("L", (2, 2), value) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert load_image(tmp_path / "a.gif", (2, 2)).tolist() == [[10, 10]] * 2


@pytest.mark.parametrize("image_shape", [(8,), (8, 8, 2), (8, 8, 4), (0, 8), (8, -1, 3), (1, 8, 8, 3)])
def test_shape_that_is_none(image_shape):
    with pytest.raises(ValueError, match=r"image_shape is \(.*: give \(h, w\)"):
        load_image(FLOWER, image_shape)
    with pytest.raises(ValueError, match="image_shape is"):
        load_images([FLOWER], image_shape)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        load_image(tmp_path / "none.png", (8, 8))


def test_file_that_is_no_image(tmp_path):
    path = tmp_path / "a.jpg"
    for content in (b"", b"no picture", b"\x89HDF\r\n\x1a\n" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.jpg is (not an image that Pillow can read|a damaged)"):
            load_image(path, (8, 8))


@pytest.mark.parametrize("extension", ["png", "jpg", "gif", "bmp", "webp"])
def test_truncated_image(tmp_path, extension):
    path = save(tmp_path / f"a.{extension}", rgb(40, 60))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"a\.{extension} is (a damaged or truncated image|not an image)"):
        load_image(path, (8, 8, 3))


@pytest.mark.parametrize("limit", [20, 10])  # 24 pixels: above the limit Pillow warns, above twice it raises
def test_decompression_bomb(tmp_path, monkeypatch, limit):
    path = save(tmp_path / "a.png", rgb())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ValueError, match=r"a\.png is too large an image, resize it first: Image size \(24 pixels\)"):
        load_image(path, (8, 8, 3))


def test_find_images(tmp_path):
    names = ["b.png", "a.JPG", "c.tiff", "notes.txt", ".hidden.png", "data.h5", "paper.pdf"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in find_images(tmp_path)] == ["a.JPG", "b.png", "c.tiff"]


def test_find_images_where_there_are_none(tmp_path):
    with pytest.raises(ValueError, match="holds no image"):
        find_images(tmp_path)
    with pytest.raises(FileNotFoundError, match="none"):
        find_images(tmp_path / "none")


def test_load_images(tmp_path):
    paths = [save(tmp_path / "a.png", rgb()), FLOWER]
    images = load_images(paths, (4, 6, 3))
    assert (images.shape, images.dtype) == ((2, 4, 6, 3), np.uint8)
    np.testing.assert_array_equal(images[0], rgb())
    np.testing.assert_array_equal(images[1], load_image(FLOWER, (4, 6, 3)))
