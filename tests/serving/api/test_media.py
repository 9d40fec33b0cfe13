"""Pictures in requests: what is read, what is refused and how."""

import base64
from io import BytesIO

import pytest
from PIL import Image

from components.serving.api.media import read_image
from components.serving.api.refusal import RequestRefused
from components.serving.config import ServingConfig

CONFIG = ServingConfig(max_image_bytes=20_000, max_image_pixels=10_000)


def encoded(kind: str, size: tuple[int, int] = (20, 10)) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, (200, 30, 40)).save(file, kind)
    return file.getvalue()


def url_of(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_the_four_formats_come_back_byte_for_byte(kind: str) -> None:
    data = encoded(kind)
    assert read_image(url_of(data, f"image/{kind.lower()}"), CONFIG, "p") == data


def test_the_media_type_may_be_absent_or_carry_parameters() -> None:
    data = encoded("PNG")
    text = base64.b64encode(data).decode()
    assert read_image(f"data:;base64,{text}", CONFIG, "p") == data
    assert read_image(f"DATA:image/png;name=a.png;base64,{text}", CONFIG, "p") == data


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://169.254.169.254/latest/meta-data", "fetches nothing"),
        ("https://example.org/cat.jpg", "fetches nothing"),
        ("file:///etc/passwd", "fetches nothing"),
        ("ftp://example.org/cat.jpg", "fetches nothing"),
        ("/etc/passwd", "fetches nothing"),
        ("", "fetches nothing"),
        ("data:image/png,abc", ";base64"),
        ("data:text/html;base64,PGI+", "text/html"),
        ("data:image/svg+xml;base64,PHN2Zz4=", "svg"),
        ("data:image/png;base64,", "no bytes"),
        ("data:image/png;base64,!!!!", "base64"),
        ("data:image/png;base64,AAA", "base64"),
        ("data:image/png;base64,AAAA", "not a readable image"),
        (url_of(encoded("BMP")), "not a readable image"),
        (url_of(encoded("PNG")[:40]), "not a readable image"),
    ],
    ids=lambda value: value[:40],
)
def test_what_is_not_an_embedded_picture_is_refused(url: str, said: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        read_image(url, CONFIG, "messages.0.content.1.image_url.url")
    assert refused.value.status == 400
    assert refused.value.param == "messages.0.content.1.image_url.url"
    assert said in refused.value.message


def test_a_file_over_the_limit_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(RequestRefused, match="at most 20000") as refused:
        read_image("data:image/png;base64," + "A" * 40_000, CONFIG, "p")
    assert refused.value.status == 413


def test_a_small_file_with_too_many_pixels_is_refused() -> None:
    bomb = encoded("PNG", (1000, 11))
    assert len(bomb) < CONFIG.max_image_bytes
    with pytest.raises(RequestRefused, match="1000x11 = 11000 pixels") as refused:
        read_image(url_of(bomb), CONFIG, "p")
    assert refused.value.status == 413
