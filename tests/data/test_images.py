"""Pixels against the original's pad and CLIP's crop; formats; damaged and hostile files."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from components.core.errors import DataError
from components.data import images, squares
from components.data.config import ImageSpec
from components.data.images import decode, load_image, to_pixels
from tests.data.samples import jpeg, put

PAD = ImageSpec(size_px=84, aspect="pad")
CROP = ImageSpec(size_px=84, aspect="crop")
LIKE_ORIGINAL = ImageSpec(size_px=84, like_original=True)
SMALL = 128 * 128  # pixels up to which Pillow resizes
SIZES = [
    (100, 80),
    (80, 100),
    (640, 480),
    (333, 500),
    (84, 84),
    (50, 50),
    (3, 200),
    (1, 1),
    (84, 13),
]


def encoded(image, kind="PNG", **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def original_pad(image, size):
    """What the original does: paste on a square of the mean colour, then resize."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), (122, 116, 104))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC)).transpose(2, 0, 1)


def original_crop(image, size):
    """What CLIP's processor does: resize the short side, cut the centre."""
    short, long = sorted(image.size)
    resized_long = int(size * long / short)
    wide = image.width >= image.height
    target = (resized_long, size) if wide else (size, resized_long)
    resized = image.resize(target, Image.Resampling.BICUBIC)
    start = (resized_long - size) // 2
    box = (start, 0, start + size, size) if wide else (0, start, size, start + size)
    return np.asarray(resized.crop(box)).transpose(2, 0, 1)


@pytest.mark.parametrize("size", SIZES)
def test_pad_equals_the_original(size):
    image = decode(jpeg(1, size))
    difference = np.abs(
        load_image(jpeg(1, size), PAD).astype(int) - original_pad(image, 84).astype(int)
    )
    if image.width * image.height <= SMALL:
        # The two resize passes are the original's; only their order differs for tall images,
        # where the rounding between them may move a value by one.
        assert difference.max() <= (1 if size[1] > size[0] else 0)
    else:
        # torch holds the weights of a tap in 16 bits, Pillow in 22.
        assert difference.mean() <= 0.25
        assert difference.max() <= 2


@pytest.mark.parametrize("size", SIZES)
def test_crop_equals_the_original(size):
    image = decode(jpeg(2, size))
    difference = np.abs(
        load_image(jpeg(2, size), CROP).astype(int) - original_crop(image, 84).astype(int)
    )
    # Pillow keeps the box in 32-bit floats, so a tap at the rim of the kernel may round otherwise;
    # torch as above.
    assert difference.mean() <= (0.1 if image.width * image.height <= SMALL else 0.25)
    assert difference.max() <= 2


@pytest.mark.parametrize("spec", [PAD, CROP], ids=["pad", "crop"])
@pytest.mark.parametrize("size", [(1280, 960), (960, 1280), (1024, 1024), (720, 1360)])
def test_a_large_jpeg_is_decoded_smaller_with_little_difference(size, spec):
    data = jpeg(5, size)
    reduced = decode(data, spec)
    extent = max if spec.aspect == "pad" else min
    assert reduced.size < decode(data).size == size
    assert extent(reduced.size) >= 2 * spec.size_px
    difference = np.abs(
        load_image(data, spec).astype(int) - to_pixels(decode(data), spec).astype(int)
    )
    # Two ways to leave out the same detail: the DCT's coefficients, and the resize's filter.
    assert difference.mean() <= 0.5


@pytest.mark.parametrize("size", [(1281, 960), (700, 1390), (320, 240), (100, 2000)])
def test_other_jpegs_are_decoded_whole(size):
    # 1281 does not divide, nor the padding of 700 x 1390; of 100 x 2000 the crop wants the 100.
    assert decode(jpeg(5, size), CROP).size == size


@pytest.mark.parametrize("spec", [PAD, CROP], ids=["pad", "crop"])
def test_an_image_of_many_blocks_gives_the_same_pixels(spec):
    image = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    whole = Image.fromarray(image)
    core = Image.core.get_block_size()
    Image.core.set_block_size(1 << 16)
    try:
        parts = Image.fromarray(image)
        with pytest.raises(ValueError):  # else nothing would be tried here
            pa.array(parts)
        assert np.array_equal(to_pixels(parts, spec), to_pixels(whole, spec))
    finally:
        Image.core.set_block_size(core)


@pytest.mark.parametrize("spec", [PAD, CROP, ImageSpec(size_px=336)], ids=["pad", "crop", "336"])
@pytest.mark.parametrize("size", [(640, 480), (333, 501), (200, 200), (161, 160), (100, 80)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_decoded_into_its_square_is_the_jpeg_that_pillow_decodes(size, spec, subsampling):
    image = decode(jpeg(3, size))
    for options in ({}, {"progressive": True}, {"quality": 30}):
        data = encoded(image, "JPEG", subsampling=subsampling, **options)
        assert np.array_equal(load_image(data, spec), to_pixels(decode(data, spec), spec))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_loaded_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(decode(jpeg(3, (300, 200))), "JPEG", exif=exif)
    assert np.array_equal(load_image(data, PAD), to_pixels(decode(data), PAD))
    like_original = load_image(data, LIKE_ORIGINAL)
    assert np.array_equal(like_original, load_image(encoded(Image.open(BytesIO(data)), "PNG"), PAD))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_of_other_colours_are_left_to_pillow(mode):
    data = encoded(decode(jpeg(3, (300, 200))).convert(mode), "JPEG")
    assert np.array_equal(load_image(data, PAD), to_pixels(decode(data), PAD))


def test_a_jpeg_that_ends_early_is_refused_by_both_decoders():
    data = jpeg(3, (300, 200))
    for end in (len(data) // 2, len(data) - 200):
        for read in (decode, lambda data: load_image(data, PAD)):
            with pytest.raises(DataError, match="cannot be decoded"):
                read(data[:end])


def test_the_result_is_uint8_rgb():
    pixels = load_image(jpeg(3), PAD)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, 84, 84)
    assert PAD.fill == (122, 116, 104)
    assert tuple(pixels[:, 0, 0]) == PAD.fill


@pytest.mark.parametrize("size", [(100_000, 2), (2, 100_000)])
@pytest.mark.parametrize("spec", [PAD, CROP], ids=["pad", "crop"])
def test_absurd_proportions_take_no_absurd_memory(size, spec, monkeypatch):
    monkeypatch.setattr(squares, "_MAX_CANVAS_PIXELS", 1_000_000)
    assert load_image(encoded(Image.new("RGB", size, (9, 9, 9))), spec).shape == (3, 84, 84)


RED = (200, 30, 40)


def red(mode):
    return Image.new("RGB", (10, 10), RED).convert(mode)


def grey16():
    return Image.fromarray(np.full((10, 10), 32896, dtype=np.uint16))


FORMATS = {
    "jpeg": (encoded(red("RGB"), "JPEG", quality=100), RED),
    "png": (encoded(red("RGB")), RED),
    "webp": (encoded(red("RGB"), "WEBP", lossless=True), RED),
    "gif": (encoded(red("RGB"), "GIF"), RED),
    "animated gif": (
        encoded(red("RGB"), "GIF", save_all=True, append_images=[Image.new("RGB", (10, 10))]),
        RED,
    ),
    "palette": (encoded(red("RGB").quantize(4)), RED),
    "grey": (encoded(Image.new("L", (10, 10), 77)), (77, 77, 77)),
    "black and white": (encoded(Image.new("1", (10, 10), 1)), (255, 255, 255)),
    "cmyk": (encoded(red("CMYK"), "JPEG", quality=100), RED),
    "16 bit": (encoded(grey16()), (128, 128, 128)),
    "16 bit tiff": (encoded(grey16(), "TIFF"), (128, 128, 128)),
    "alpha": (encoded(Image.new("RGBA", (10, 10), (*RED, 255))), RED),
    "transparent": (encoded(Image.new("RGBA", (10, 10), (0, 0, 0, 0))), (255, 255, 255)),
    "grey alpha": (encoded(Image.new("LA", (10, 10), (0, 0))), (255, 255, 255)),
    "palette with a transparent colour": (
        encoded(Image.new("P", (10, 10), 0), transparency=0),
        (255, 255, 255),
    ),
    "animated webp": (
        encoded(
            red("RGB"),
            "WEBP",
            lossless=True,
            save_all=True,
            append_images=[Image.new("RGB", (10, 10))],
        ),
        RED,
    ),
    "two images of a phone": (
        encoded(red("RGB"), "MPO", quality=100, save_all=True, append_images=[red("RGB")]),
        RED,
    ),
    "bmp": (encoded(red("RGB"), "BMP"), RED),
}


@pytest.mark.parametrize(("data", "colour"), FORMATS.values(), ids=FORMATS)
def test_formats_become_rgb(data, colour):
    pixels = load_image(data, PAD)
    assert np.abs(pixels[:, 40, 40].astype(int) - colour).max() <= 3


def test_exif_orientation_is_followed():
    image = Image.new("RGB", (20, 10), "black")
    image.paste((255, 255, 255), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the left side of the file is the top of the scene
    upright = decode(encoded(image, "JPEG", exif=exif, quality=100))
    assert upright.size == (10, 20)
    assert np.asarray(upright)[2, 5].min() > 200
    assert np.asarray(upright)[17, 5].max() < 50


def test_damaged_exif_is_no_reason_to_lose_an_image():
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff"
    assert decode(encoded(red("RGB"), "JPEG", exif=exif)).size == (10, 10)


def test_the_original_reading_is_pils_convert():
    """`like_original`: alpha is dropped, 16 bits are clipped, the camera's turn is ignored."""
    hidden = encoded(Image.new("RGBA", (10, 10), (*RED, 0)))
    assert decode(hidden, PAD).getpixel((5, 5)) == (255, 255, 255)
    assert decode(hidden, LIKE_ORIGINAL).getpixel((5, 5)) == RED
    deep = encoded(grey16())
    assert decode(deep, LIKE_ORIGINAL).getpixel((5, 5)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(Image.new("RGB", (20, 10)), "JPEG", exif=exif)
    assert decode(turned, LIKE_ORIGINAL).size == (20, 10)
    assert decode(turned, PAD).size == (10, 20)


def test_a_reduced_jpeg_is_turned_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (800, 400)), "JPEG", exif=exif)
    assert decode(data, PAD).size == (100, 200)


def bomb(side):
    """A small PNG whose header says it is enormous."""
    data = bytearray(encoded(Image.new("1", (10, 10))))
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


BAD = {
    "empty": (b"", "empty"),
    "text": (b"<html>not found</html>", "can be decoded"),
    "truncated jpeg": (jpeg(1)[:-300], "cannot be decoded"),
    "truncated png": (FORMATS["png"][0][:50], "can"),
    "header only": (jpeg(1)[:20], "can"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "can be decoded"),
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD)
def test_files_that_cannot_be_decoded_are_data_errors(data, message):
    with pytest.raises(DataError, match=message) as caught:
        load_image(data, PAD)
    assert " at 0x" not in str(caught.value), "two runs must report the same"


@pytest.mark.parametrize(("side", "message"), [(9_450, "the limit is"), (60_000, "too large")])
def test_a_decompression_bomb_is_refused_by_its_header(side, message):
    with pytest.raises(DataError, match=message):
        load_image(bomb(side), PAD)


def test_too_many_bytes_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", 100)
    with pytest.raises(DataError, match="the limit is 100"):
        load_image(put(tmp_path / "a.jpg", jpeg(1)), PAD)


def test_a_path_is_named_in_the_error(tmp_path):
    with pytest.raises(DataError, match=r"none\.jpg: no such image"):
        load_image(tmp_path / "none.jpg", PAD)
    with pytest.raises(DataError, match="cannot be read"):
        load_image(tmp_path, PAD)
