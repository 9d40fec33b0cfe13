"""Times the original's image path beside ours, on one core, and compares their pixels.

The original: PIL's convert("RGB"), `expand2square` with the mean colour, then transformers' slow
CLIP processor (llava/train/train.py of haotian-liu/LLaVA c121f043), one image after the other, to
floats. Ours: `components.data.images.load_image`, which ends in uint8, as pixels leave the loader;
and with `normalise_pixels`, which training does on the device, a batch at a time. Times are CPU per
image.
Run it with `python -m tests.benchmarks.images`; nothing but its output is written.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from components.data.config import CLIP_STD, ImageSpec
from components.data.images import load_image
from components.model.embed import normalise_pixels

NUM_IMAGES = 24
SIZE_PX = 336


def main() -> None:
    """Print time per image of both, their ratio, and how far their pixels lie apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = [photograph(seed, options.width, options.height) for seed in range(NUM_IMAGES)]
    table = Table(
        title=f"{NUM_IMAGES} JPEGs of {options.width} x {options.height} px, "
        f"{sum(map(len, files)) // len(files) // 1000} kB each, to {SIZE_PX} px; "
        f"median of {options.rounds} interleaved rounds",
        title_justify="left",
    )
    for name in (
        "aspect",
        "original",
        "ours",
        "ratio",
        "to floats",
        "ratio",
        "mean |d|",
        "max |d|",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for aspect in ("pad", "crop"):
        spec = ImageSpec(size_px=SIZE_PX, aspect=aspect)
        ways = (original(spec), partial(load_image, spec=spec), partial(to_floats, spec=spec))
        difference = pixel_differences(files, ways[0], ways[2])
        theirs, mine, floats = interleaved(files, ways, options.rounds)
        table.add_row(
            aspect,
            f"{theirs * 1e3:.2f} ms",
            f"{mine * 1e3:.2f} ms",
            f"{theirs / mine:.1f}x",
            f"{floats * 1e3:.2f} ms",
            f"{theirs / floats:.1f}x",
            f"{difference.mean():.3f}",
            f"{difference.max():.0f}",
        )
    table.caption = "|d|: difference of a channel's value, of 255"
    Console(width=100).print(table)


def photograph(seed: int, width: int, height: int) -> bytes:
    """Return a JPEG with detail at every scale, falling off as in photographs, and hard edges."""
    random = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), dtype=np.float32)
    for level in range(2, 10):
        cells = 2**level
        noise = random.integers(0, 255, (cells * 3 // 4, cells, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        image += np.asarray(layer, dtype=np.float32) / cells**0.9
    image = (image - image.mean()) / image.std() * 55 + 118
    for _ in range(6):
        top, left = random.integers(0, height * 3 // 4), random.integers(0, width * 3 // 4)
        shape = (slice(top, top + height // 5), slice(left, left + width // 5))
        image[shape] = image[shape] * 0.3 + random.integers(0, 180, 3)
    file = BytesIO()
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def original(spec: ImageSpec) -> Callable[[bytes], torch.Tensor]:
    """Return the original's way from a file to float pixels [3, S, S]."""
    # The processor that the original got as CLIPImageProcessor, before there was a fast one.
    from transformers import CLIPImageProcessorPil

    side = {"height": spec.size_px, "width": spec.size_px}
    processor = CLIPImageProcessorPil(size={"shortest_edge": spec.size_px}, crop_size=side)

    def read(data: bytes) -> torch.Tensor:
        image = Image.open(BytesIO(data)).convert("RGB")
        if spec.aspect == "pad":
            image = expand2square(image, spec.fill)
        return processor.preprocess(image, return_tensors="pt")["pixel_values"][0]

    return read


def to_floats(data: bytes, spec: ImageSpec) -> torch.Tensor:
    """Return our pixels as the vision tower takes them, float [3, S, S]."""
    return normalise_pixels(torch.from_numpy(load_image(data, spec)), spec, torch.float32)


def expand2square(image: Image.Image, fill: tuple[int, int, int]) -> Image.Image:
    """Return the image centred on a square, as the original's function of this name does."""
    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    square = Image.new(image.mode, (side, side), fill)
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def pixel_differences(
    files: Sequence[bytes],
    one: Callable[[bytes], torch.Tensor],
    other: Callable[[bytes], torch.Tensor],
) -> torch.Tensor:
    """Return the absolute differences of all values, in steps of an 8-bit channel."""
    deviation = torch.tensor(CLIP_STD).view(3, 1, 1)
    apart = [(one(data) - other(data)).abs() * deviation * 255 for data in files]
    return torch.stack(apart)


def interleaved(
    files: Sequence[bytes], ways: Sequence[Callable[[bytes], object]], rounds: int
) -> list[float]:
    """Return each way's median seconds of CPU per image, measured in turns."""
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for read, times in zip(ways, seconds, strict=True):
            start = time.process_time()
            for data in files:
                read(data)
            times.append((time.process_time() - start) / len(files))
    return [statistics.median(times) for times in seconds]


if __name__ == "__main__":
    main()
