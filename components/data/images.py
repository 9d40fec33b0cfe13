"""An image file becomes the uint8 pixels that the vision tower sees.

In: a path or encoded bytes and an `ImageSpec`. Out: a uint8 array [3, S, S]; `normalise` turns a
batch of them into floats on the device. Training, evaluation and serving all call `load`, so they
see the same pixels.

Reference: `expand2square` and CLIPImageProcessor as used by llava/train/train.py
(haotian-liu/LLaVA c121f043). Sensible differences, which `ImageSpec.like_original` takes back: EXIF
orientation is followed, transparency lies on white (PIL's convert("RGB") drops alpha and shows
whatever colour hides behind it, mostly black), 16-bit images keep their range.

Speed: a JPEG is decoded straight into the padded square that is resized (`squares.py`). A large one
is decoded at a half, quarter or eighth as long as twice the wanted resolution is left (mean
difference below 0.3 of 255). Measured by tests/benchmarks/images.py.
"""

import logging
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from components.core.errors import DataError
from components.data.config import ImageSpec as ImageSpec
from components.data.squares import is_small, square_of
from components.data.squares import to_pixels as to_pixels

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

MAX_IMAGE_BYTES = 64 * 1024 * 1024
"""Largest encoded image that is opened."""
MAX_IMAGE_PIXELS = 89_000_000
"""Largest decoded image; a decompression bomb is refused before its pixels are allocated."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Decoders that may run; others (EPS calls an interpreter) stay shut."""
_ORIENTATION = 0x0112
"""Number of the EXIF field that says how an image is turned."""
_JPEG_SCALES = (8, 4, 2)
_REDUCED_REMAINS = 2
"""A reduced JPEG keeps this many times the wanted resolution; at 1 the mean difference is 1.2."""


def load_image(source: Path | str | bytes, spec: ImageSpec) -> NDArray[np.uint8]:
    """Return the image as uint8 [3, S, S], RGB. Raises DataError when it cannot be decoded."""
    image, data, name = _open(source)
    if image.mode == "RGB" and image.format == "JPEG" and _is_upright(image, spec):
        reduced = _scale(image, spec) > 1
        pixels = None if reduced or is_small(image.size) else _load_jpeg(data, image.size, spec)
        if pixels is not None:
            return pixels
    return to_pixels(_decoded(image, name, spec), spec)


def decode(source: Path | str | bytes, spec: ImageSpec | None = None) -> Image.Image:
    """Return the decoded, upright RGB image; of an animation the first frame.

    With a spec it is read as the spec says, and a large JPEG may come reduced, never to less than
    twice what the spec needs. Raises DataError saying what is wrong.
    """
    image, _, name = _open(source)
    return _decoded(image, name, spec)


def check_size(data: bytes, name: str) -> None:
    """Raise DataError for an encoded image of no bytes, or of more than are opened."""
    if not data:
        raise DataError(f"{name}: the file is empty")
    if len(data) > MAX_IMAGE_BYTES:
        raise DataError(f"{name}: {len(data):,} bytes; the limit is {MAX_IMAGE_BYTES:,}")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the image in RGB: transparency on white, high bit depths scaled to 8 bits."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        canvas = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(canvas, layer).convert("RGB")
    return image.convert("RGB")


def _open(source: Path | str | bytes) -> tuple[Image.Image, bytes, str]:
    """Return the image with its header read, its bytes and its name for messages."""
    data = source if isinstance(source, bytes) else _read(Path(source))
    name = f"image of {len(data):,} bytes" if isinstance(source, bytes) else str(source)
    check_size(data, name)
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: too large to decode ({error})") from None
    except UnidentifiedImageError:
        # Its own message holds an address in memory, so that no two runs would report the same.
        raise DataError(
            f"{name}: is no image that can be decoded (none of {', '.join(FORMATS)})"
        ) from None
    except Exception as error:  # noqa: BLE001, decoders raise anything on damaged bytes
        raise DataError(f"{name}: is no image that can be decoded ({error})") from None
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        raise DataError(f"{name}: {width} x {height} pixels; the limit is {MAX_IMAGE_PIXELS:,}")
    return image, data, name


def _decoded(image: Image.Image, name: str, spec: ImageSpec | None) -> Image.Image:
    if spec is not None and image.format in ("JPEG", "MPO"):
        scale = _scale(image, spec)
        if scale > 1:
            image.draft(None, (image.width // scale, image.height // scale))
    try:
        image.load()
    except Exception as error:  # noqa: BLE001, as above
        raise DataError(
            f"{name}: cannot be decoded ({error}); replace the file or drop the row"
        ) from None
    if spec is not None and spec.like_original:
        return image.convert("RGB")
    return to_rgb(_upright(image))


def _load_jpeg(data: bytes, size: tuple[int, int], spec: ImageSpec) -> NDArray[np.uint8] | None:
    """Return the pixels of a JPEG, or None for one that is damaged or would take too much memory.

    The decoder is the one that Pillow has, with the same result, but writes a row to where it is
    wanted; Pillow takes half as long again.
    """
    import simplejpeg

    def decode_into(pixels: NDArray[np.uint8]) -> None:
        simplejpeg.decode_jpeg(data, colorspace="RGBA", buffer=pixels)

    try:
        return square_of(decode_into, size, spec)
    except ValueError:
        return None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_IMAGE_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _upright(image: Image.Image) -> Image.Image:
    """Turn the image as its EXIF says; damaged EXIF is no reason to lose the image."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:  # noqa: BLE001, the parser raises anything on damaged bytes
        log.debug("EXIF is ignored: %s", error)
    return image


def _is_upright(image: Image.Image, spec: ImageSpec) -> bool:
    """Return whether the pixels lie in the file as they are to be seen."""
    if spec.like_original or not image.info.keys() & {"exif", "xmp"}:
        return True
    return "xmp" not in image.info and image.getexif().get(_ORIENTATION, 1) == 1


def _scale(image: Image.Image, spec: ImageSpec) -> int:
    """Return how many times smaller a JPEG may be decoded: the resize throws that detail away."""
    wanted = _REDUCED_REMAINS * spec.size_px
    extent = max(image.size) if spec.aspect == "pad" else min(image.size)
    for scale in _JPEG_SCALES:
        # The scale must divide sides and padding, or the image would shift by half a pixel.
        shifts = (
            image.width % scale,
            image.height % scale,
            (image.width - image.height) % (2 * scale),
        )
        if extent // scale >= wanted and not any(shifts):
            return scale
    return 1


def _from_deep(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float grey to 8 bits (the original clips 16-bit to nearly white)."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        values = values * 255.0 if values.max(initial=0.0) <= 1.0 else values
    elif image.mode.startswith("I;16") or values.max(initial=0.0) > 255:
        values = values / 257.0
    return Image.fromarray(np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8))
