"""Pictures as rows of bytes: one file of any common format to uint8 pixels of a fixed shape.

A model only knows the pixels it was trained on, so nothing here is fitted to one picture or left to
choose: the same file gives the same bytes at training and at prediction.
"""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image


def load_image(path: str | os.PathLike[str], image_shape: tuple[int, ...]) -> np.ndarray:
    """One picture, upright, stretched to a shape; of an animation, its first frame.

    Transparent pixels show white paper behind them. Colour becomes grey by the luma of ITU-R BT.601.

    Args:
        path: a file of any format that Pillow reads.
        image_shape: (h, w) or (h, w, 1) for grey, (h, w, 3) for RGB.

    Returns:
        uint8 array of `image_shape`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: `image_shape` is none of the above, or the file is no picture, is damaged, is larger than
            Pillow's limit against decompression bombs, or has pixels that 8 bits cannot stand for.
    """
    from PIL import Image

    height, width, mode = _target(image_shape)
    image = _open_upright(path)
    try:
        image = _to_mode(image, mode)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    # One fixed filter, no option: another one at prediction would give pixels the model never saw. Pillow
    # widens BILINEAR by the reduction, so every pixel of a large photograph counts: no aliasing.
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.array(image, dtype=np.uint8).reshape(image_shape)


def load_images(paths: Sequence[str | os.PathLike[str]], image_shape: tuple[int, ...]) -> np.ndarray:
    """Several pictures, one a row: uint8 (m, *image_shape). Shapes and errors are those of `load_image`."""
    _target(image_shape)
    images = np.empty((len(paths), *image_shape), dtype=np.uint8)
    for row, path in zip(images, paths, strict=True):
        row[...] = load_image(path, image_shape)
    return images


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The pictures directly in a folder, told by extension in any case, sorted; hidden files are left out.

    Raises:
        FileNotFoundError, NotADirectoryError: `folder` is no folder.
        ValueError: it holds no picture.
    """
    from PIL import Image

    # Pillow also registers formats that it only writes, such as PDF, or only recognizes: these four.
    extensions = {
        extension
        for extension, name in Image.registered_extensions().items()
        if name in Image.OPEN and name not in ("BUFR", "GRIB", "HDF5", "MPEG")
    }
    found = sorted(
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in extensions and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        raise ValueError(f"{folder} holds no image: put files such as .jpg, .png, .tif or .webp in it")
    return found


def _target(image_shape: tuple[int, ...]) -> tuple[int, int, str]:
    """Height, width and Pillow's mode of an image shape."""
    channels = image_shape[2] if len(image_shape) == 3 else 1
    if len(image_shape) not in (2, 3) or min(image_shape) < 1 or channels not in (1, 3):
        raise ValueError(f"image_shape is {image_shape}: give (h, w) or (h, w, 1) for grey, (h, w, 3) for RGB")
    return image_shape[0], image_shape[1], "RGB" if channels == 3 else "L"


def _open_upright(path: str | os.PathLike[str]) -> Image.Image:
    """The decoded picture, turned as its camera says."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    with warnings.catch_warnings():
        # Above its limit Pillow only warns, and raises above twice the limit; both are one error here.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                image.load()
                return ImageOps.exif_transpose(image)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ValueError(f"{path} is too large an image, resize it first: {error}") from error
        except UnidentifiedImageError as error:
            raise ValueError(f"{path} is not an image that Pillow can read") from error
        except (OSError, SyntaxError, EOFError, ValueError, struct.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # from the system (no such file, no permission), not from a decoder
            raise ValueError(f"{path} is a damaged or truncated image: {error}") from error


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Any picture as 8-bit "L" or "RGB"."""
    from PIL import Image

    # convert("L") would clip these at 255. The range is fixed, never stretched to what one picture holds.
    if image.mode.startswith("I"):  # 16-bit grey; Pillow holds some such files in 32-bit integers ("I")
        image = _reduce(image, 65535)
    elif image.mode == "F":
        image = _reduce(image, 1)
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return image.convert(mode)


def _reduce(image: Image.Image, white: int) -> Image.Image:
    """Grey of 0 to `white` as 8 bits, rounded to nearest."""
    from PIL import Image

    pixels = np.asarray(image)
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= white):  # `not` catches NaN too
        raise ValueError(
            f"its pixels run from {low} to {high}, mode {image.mode!r} is read as grey from 0 to {white}; "
            "save it with 8 or 16 bits"
        )
    return Image.fromarray(np.rint(pixels * (255 / white)).astype(np.uint8))
