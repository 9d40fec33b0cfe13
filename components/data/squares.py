"""An RGB image becomes a square of the vision tower's size, padded or cropped.

In: an image and an `ImageSpec`. Out: uint8 pixels [3, S, S]. Reference: `expand2square` and
CLIPImageProcessor as used by llava/train/train.py (haotian-liu/LLaVA c121f043). torch resizes bytes
with vector instructions, to within 2 of Pillow's values, mean below 0.01 on photographs; small
images stay with Pillow, and so do some of absurd proportions.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.data.config import ImageSpec

_MAX_CANVAS_PIXELS = 32_000_000
_SMALL_PIXELS = 128 * 128
"""Up to here Pillow is as fast as torch, and exact."""
BICUBIC = Image.Resampling.BICUBIC


def is_small(size: tuple[int, int]) -> bool:
    """Return whether an image is left to Pillow for its size."""
    return size[0] * size[1] <= _SMALL_PIXELS


def to_pixels(image: Image.Image, spec: ImageSpec) -> NDArray[np.uint8]:
    """Return an RGB image as uint8 [3, S, S], padded or centre-cropped as the spec says."""
    fits = _largest_step(image.width, image.height, spec) <= _MAX_CANVAS_PIXELS
    if fits and not is_small(image.size):
        pixels = _channels_last(image)
        if spec.aspect == "pad":
            return _pad_fast(pixels, spec)
        # Pillow's memory may be read, but torch wants to be able to write.
        return _crop_fast(pixels.copy(), spec.size_px)
    square = _pad(image, spec) if spec.aspect == "pad" else _crop(image, spec.size_px)
    return np.ascontiguousarray(np.asarray(square, dtype=np.uint8).transpose(2, 0, 1))


def square_of(
    decode_into: Callable[[NDArray[np.uint8]], None], size: tuple[int, int], spec: ImageSpec
) -> NDArray[np.uint8] | None:
    """Return the square of an image that is yet to be decoded, into the [H, W, 4] array handed in.

    None where it would take more memory than this is worth.
    """
    width, height = size
    if _largest_step(width, height, spec) > _MAX_CANVAS_PIXELS:
        return None
    if spec.aspect == "pad" and width >= height:
        canvas, place = _canvas(width, height, 4, spec)
        # Whole rows of the canvas: the decoder may write there, and nothing is copied.
        decode_into(canvas[place])
        return _resize(canvas, spec.size_px, spec.size_px)
    pixels = np.empty((height, width, 4), dtype=np.uint8)
    decode_into(pixels)
    return _pad_fast(pixels, spec) if spec.aspect == "pad" else _crop_fast(pixels, spec.size_px)


def _largest_step(width: int, height: int, spec: ImageSpec) -> int:
    """Pixels of the padded square, or of the resized image before its centre is cut out."""
    short, long = sorted((width, height))
    return long * long if spec.aspect == "pad" else spec.size_px * (spec.size_px * long // short)


def _pad_fast(pixels: NDArray[np.uint8], spec: ImageSpec) -> NDArray[np.uint8]:
    """`expand2square` of [H, W, 3 or 4], then a bicubic resize to the square."""
    height, width, channels = pixels.shape
    canvas, place = _canvas(width, height, channels, spec)
    canvas[place] = pixels
    return _resize(canvas, spec.size_px, spec.size_px)


def _canvas(
    width: int, height: int, channels: int, spec: ImageSpec
) -> tuple[NDArray[np.uint8], tuple[slice, slice]]:
    """Return a square filled around the place of an image, and that place."""
    side = max(width, height)
    top, left = (side - height) // 2, (side - width) // 2
    # Rows are filled from a row: numpy copies that at once, but a colour pixel by pixel.
    margin = np.full((side, channels), (*spec.fill, 0)[:channels], dtype=np.uint8)
    canvas = np.empty((side, side, channels), dtype=np.uint8)
    canvas[:top] = canvas[top + height :] = margin
    canvas[:, :left] = margin[:left]
    canvas[:, left + width :] = margin[left + width :]
    return canvas, (slice(top, top + height), slice(left, left + width))


def _crop_fast(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """A bicubic resize of the short side of [H, W, 3 or 4] to `size`, then the centre."""
    height, width, _ = pixels.shape
    short, long = sorted((height, width))
    long_resized = int(size * long / short)
    start = (long_resized - size) // 2
    if width > height:
        resized = _resize(pixels, size, long_resized)
        return np.ascontiguousarray(resized[:, :, start : start + size])
    resized = _resize(pixels, long_resized, size)
    return np.ascontiguousarray(resized[:, start : start + size])


def _channels_last(image: Image.Image) -> NDArray[np.uint8]:
    """Return an RGB image as [H, W, 4], Pillow's memory and its idle channel, or [H, W, 3]."""
    import pyarrow as pa

    try:
        return pa.array(image).flatten().to_numpy().reshape(image.height, image.width, 4)
    except ValueError:  # a large image lies in several blocks of memory, and must be copied
        return np.asarray(image)


def _resize(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize [H, W, 3 or 4] to [3, height, width]; the filter is Pillow's bicubic."""
    import torch

    channels_last = torch.from_numpy(pixels).permute(2, 0, 1)[None]
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
    """Pad an image of absurd length, whose half-resized canvas would not fit into memory."""
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
