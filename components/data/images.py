"""A picture file becomes the uint8 pixels that the vision tower sees.

In: a path or encoded bytes and an `ImageSpec`. Out: a uint8 array [3, S, S]; `normalise` turns a
batch of them into floats on the device. Training, evaluation and serving all call `load`, so they
see the same pixels.

Reference: `expand2square` and CLIPImageProcessor as used by llava/train/train.py
(haotian-liu/LLaVA c121f043). Sensible differences, which `ImageSpec.like_original` takes back: EXIF
orientation is followed, transparency lies on white (PIL's convert("RGB") drops alpha and shows
whatever colour hides behind it, mostly black), 16-bit pictures keep their range.

Speed: torch resizes bytes with vector instructions, to within 2 of Pillow's values, mean below 0.01
on photographs; small pictures stay with Pillow. A large JPEG is decoded at a half, quarter or
eighth as long as twice the wanted resolution is left (mean difference below 0.3 of 255). Both are
measured by tests/benchmarks/images.py.
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
_SMALL_PIXELS = 128 * 128
"""Up to here Pillow is as fast as torch, and exact."""
_JPEG_SCALES = (8, 4, 2)
_REDUCED_REMAINS = 2
"""A reduced JPEG keeps this many times the wanted resolution; at 1 the mean difference is 1.2."""

BICUBIC = Image.Resampling.BICUBIC


def load(source: Path | str | bytes, spec: ImageSpec) -> NDArray[np.uint8]:
    """Return the picture as uint8 [3, S, S], RGB. Raises DataError when it cannot be decoded."""
    return to_pixels(decode(source, spec), spec)


def decode(source: Path | str | bytes, spec: ImageSpec | None = None) -> Image.Image:
    """Return the decoded, upright RGB picture; of an animation the first frame.

    With a spec it is read as the spec says, and a large JPEG may come reduced, never to less than
    twice what the spec needs. Raises DataError saying what is wrong.
    """
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
    if spec is not None and image.format in ("JPEG", "MPO"):
        _reduce(image, spec)
    try:
        image.load()
    except Exception as error:  # noqa: BLE001, as above
        raise DataError(
            f"{name}: cannot be decoded ({error}); replace the file or drop the row"
        ) from None
    if spec is not None and spec.like_original:
        return image.convert("RGB")
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
    small = image.width * image.height <= _SMALL_PIXELS
    if not small and _largest_step(image, spec) <= _MAX_CANVAS_PIXELS:
        return _pad_fast(image, spec) if spec.aspect == "pad" else _crop_fast(image, spec.size_px)
    square = _pad(image, spec) if spec.aspect == "pad" else _crop(image, spec.size_px)
    return np.ascontiguousarray(np.asarray(square, dtype=np.uint8).transpose(2, 0, 1))


def normalise(pixels: "Tensor", spec: ImageSpec) -> "Tensor":
    """Return uint8 pixels [..., 3, S, S] as float32 in the tower's scale, same device."""
    import torch

    mean = torch.tensor(spec.mean, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(spec.std, device=pixels.device).view(3, 1, 1)
    # The quotient is a new tensor, so the rest may happen in its place.
    return pixels.to(torch.float32).div(255.0).sub_(mean).div_(std)


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
        ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:  # noqa: BLE001, the parser raises anything on damaged bytes
        log.debug("EXIF is ignored: %s", error)
    return image


def _reduce(image: Image.Image, spec: ImageSpec) -> None:
    """Let the JPEG decoder leave out detail that the resize would throw away."""
    wanted = _REDUCED_REMAINS * spec.size_px
    extent = max(image.size) if spec.aspect == "pad" else min(image.size)
    for scale in _JPEG_SCALES:
        # The scale must divide sides and padding, or the picture would shift by half a pixel.
        shifts = (
            image.width % scale,
            image.height % scale,
            (image.width - image.height) % (2 * scale),
        )
        if extent // scale >= wanted and not any(shifts):
            image.draft(None, (image.width // scale, image.height // scale))
            return


def _from_deep(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float grey to 8 bits (the original clips 16-bit to nearly white)."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        values = values * 255.0 if values.max(initial=0.0) <= 1.0 else values
    elif image.mode.startswith("I;16") or values.max(initial=0.0) > 255:
        values = values / 257.0
    return Image.fromarray(np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8))


def _largest_step(image: Image.Image, spec: ImageSpec) -> int:
    """Pixels of the padded square, or of the resized picture before its centre is cut out."""
    short, long = sorted(image.size)
    return long * long if spec.aspect == "pad" else spec.size_px * (spec.size_px * long // short)


def _pad_fast(image: Image.Image, spec: ImageSpec) -> NDArray[np.uint8]:
    """`expand2square`, then a bicubic resize to the square."""
    width, height = image.size
    side = max(width, height)
    top, left = (side - height) // 2, (side - width) // 2
    pixels = _channels_last(image)
    channels = pixels.shape[-1]
    # Rows are filled from a row: numpy copies that at once, but a colour pixel by pixel.
    margin = np.full((side, channels), (*spec.fill, 0)[:channels], dtype=np.uint8)
    canvas = np.empty((side, side, channels), dtype=np.uint8)
    canvas[:top] = canvas[top + height :] = margin
    canvas[:, :left] = margin[:left]
    canvas[:, left + width :] = margin[left + width :]
    canvas[top : top + height, left : left + width] = pixels
    return _resize(canvas, spec.size_px, spec.size_px)


def _crop_fast(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """A bicubic resize of the short side to `size`, then the centre."""
    short, long = sorted(image.size)
    long_resized = int(size * long / short)
    start = (long_resized - size) // 2
    if image.width > image.height:
        resized = _resize(_channels_last(image).copy(), size, long_resized)
        return np.ascontiguousarray(resized[:, :, start : start + size])
    resized = _resize(_channels_last(image).copy(), long_resized, size)
    return np.ascontiguousarray(resized[:, start : start + size])


def _channels_last(image: Image.Image) -> NDArray[np.uint8]:
    """Return an RGB picture as [H, W, 4], Pillow's memory and its idle channel, or [H, W, 3]."""
    import pyarrow as pa

    try:
        return pa.array(image).flatten().to_numpy().reshape(image.height, image.width, 4)
    except ValueError:  # a large picture lies in several blocks of memory, and must be copied
        return np.asarray(image)


def _resize(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize [H, W, 3 or 4] to [3, height, width]; the filter is Pillow's bicubic."""
    import torch

    channels_last = torch.from_numpy(picture).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(
        channels_last, (height, width), mode="bicubic", antialias=True
    )
    return resized[0, :3].contiguous().numpy()


def _pad(image: Image.Image, spec: ImageSpec) -> Image.Image:
    """Equal `expand2square` followed by a bicubic resize to the square.

    Padding happens between the two passes of the resize, so that only real pixels are resampled
    along the long side: same result, fewer bytes moved.
    """
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
