"""A picture file becomes the uint8 pixels that the vision tower sees.

In: a path or encoded bytes and an `ImageSpec`. Out: a uint8 array [3, S, S]; `normalise` turns a
batch of them into floats on the device. The same pixels serve training, evaluation and serving.
Pillow decodes at full resolution (no JPEG draft mode, which changes pixels).

Reference: `expand2square` and CLIPImageProcessor as used by llava/train/train.py
(haotian-liu/LLaVA c121f043). Sensible differences: EXIF orientation is followed, transparency lies
on white, 16-bit pictures keep their range. Padding happens between the two passes of the resize,
so that only real pixels are resampled along the long side: same result, fewer bytes moved.
"""

import logging
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from components.core.errors import DataError
from components.data.config import ImageSpec as ImageSpec

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

MAX_IMAGE_BYTES = 64 * 1024 * 1024
"""Largest encoded picture that is opened."""
MAX_IMAGE_PIXELS = 89_000_000
"""Largest decoded picture; a decompression bomb is refused before its pixels are allocated."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Decoders that may run; others (EPS calls an interpreter) stay shut."""
_MAX_CANVAS_PIXELS = 32_000_000

BICUBIC = Image.Resampling.BICUBIC


def load(source: Path | str | bytes, spec: ImageSpec) -> NDArray[np.uint8]:
    """Return the picture as uint8 [3, S, S], RGB. Raises DataError when it cannot be decoded."""
    return to_pixels(decode(source), spec)


def decode(source: Path | str | bytes) -> Image.Image:
    """Return the decoded, upright RGB picture. Raises DataError saying what is wrong."""
    data = source if isinstance(source, bytes) else _read(Path(source))
    name = f"image of {len(data):,} bytes" if isinstance(source, bytes) else str(source)
    if not data:
        raise DataError(f"{name}: the file is empty")
    if len(data) > MAX_IMAGE_BYTES:
        raise DataError(f"{name}: {len(data):,} bytes; the limit is {MAX_IMAGE_BYTES:,}")
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: too large to decode ({error})") from None
    except Exception as error:  # noqa: BLE001, decoders raise anything on damaged bytes
        raise DataError(f"{name}: is no picture that can be decoded ({error})") from None
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        raise DataError(f"{name}: {width} x {height} pixels; the limit is {MAX_IMAGE_PIXELS:,}")
    try:
        image.load()
    except Exception as error:  # noqa: BLE001, as above
        raise DataError(
            f"{name}: cannot be decoded ({error}); replace the file or drop the row"
        ) from None
    return to_rgb(_upright(image))


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the picture in RGB: transparency on white, high bit depths scaled to 8 bits."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        canvas = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(canvas, layer).convert("RGB")
    return image.convert("RGB")


def to_pixels(image: Image.Image, spec: ImageSpec) -> NDArray[np.uint8]:
    """Return an RGB picture as uint8 [3, S, S], padded or centre-cropped as the spec says."""
    square = _pad(image, spec) if spec.aspect == "pad" else _crop(image, spec.size_px)
    return np.ascontiguousarray(np.asarray(square, dtype=np.uint8).transpose(2, 0, 1))


def normalise(pixels: "Tensor", spec: ImageSpec) -> "Tensor":
    """Return uint8 pixels [..., 3, S, S] as float32 in the tower's scale, same device."""
    import torch

    mean = torch.tensor(spec.mean, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(spec.std, device=pixels.device).view(3, 1, 1)
    return (pixels.to(torch.float32) / 255.0 - mean) / std


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_IMAGE_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _upright(image: Image.Image) -> Image.Image:
    """Turn the picture as its EXIF says; damaged EXIF is no reason to lose the picture."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # noqa: BLE001, the parser raises anything on damaged bytes
        log.debug("EXIF is ignored: %s", error)
        return image


def _from_deep(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float grey to 8 bits (the original clips 16-bit to nearly white)."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        values = values * 255.0 if values.max(initial=0.0) <= 1.0 else values
    elif image.mode.startswith("I;16") or values.max(initial=0.0) > 255:
        values = values / 257.0
    return Image.fromarray(np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8))


def _pad(image: Image.Image, spec: ImageSpec) -> Image.Image:
    """Equal `expand2square` followed by a bicubic resize to the square."""
    size = spec.size_px
    width, height = image.size
    side = max(width, height)
    if width == height:
        return image.resize((size, size), BICUBIC)
    if side * size > _MAX_CANVAS_PIXELS:
        return _pad_thin(image, spec)
    # The padding is constant along the long side, so that side can be resized before there is any.
    offset = (side - min(width, height)) // 2
    if width > height:
        strip = image.resize((size, height), BICUBIC)
        canvas = Image.new("RGB", (size, side), spec.fill)
        canvas.paste(strip, (0, offset))
    else:
        strip = image.resize((width, size), BICUBIC)
        canvas = Image.new("RGB", (side, size), spec.fill)
        canvas.paste(strip, (offset, 0))
    return canvas.resize((size, size), BICUBIC)


def _pad_thin(image: Image.Image, spec: ImageSpec) -> Image.Image:
    """Pad a picture of absurd length, whose half-resized canvas would not fit into memory."""
    size = spec.size_px
    scale = size / max(image.size)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", (size, size), spec.fill)
    canvas.paste(image.resize(inner, BICUBIC), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return canvas


def _crop(image: Image.Image, size: int) -> Image.Image:
    """Equal a resize of the short side to `size` and a centre crop, computing only the crop."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    long_resized = int(size * long / short)
    start = (long_resized - size) // 2
    low, high = start * long / long_resized, min((start + size) * long / long_resized, float(long))
    box = (low, 0.0, high, float(short)) if width > height else (0.0, low, float(short), high)
    return image.resize((size, size), BICUBIC, box=box)
