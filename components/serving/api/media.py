"""Images of a request: `data:` URLs in, raw file bytes out.

Only `data:` URLs are read. Fetching an address that a stranger names makes the server a tool
against its own network (CVE-2026-24779 is one of a series in other servers), so the client embeds
the image. Decoding, resizing and colour belong to `components.data.images`, the path of training
images.
"""

import base64
import binascii
import io
import re

from PIL import Image, UnidentifiedImageError

from components.serving.api.refusal import RequestRefused
from components.serving.config import ServingConfig

IMAGE_FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
"""PIL format -> media type; the four that OpenAI's API takes. Of a GIF the first frame counts."""

_DATA_URL = re.compile(r"data:(?P<type>[^;,]*)(?P<parameters>(;[^,]*)?),", re.IGNORECASE)


def read_image(url: str, config: ServingConfig, param: str) -> bytes:
    """Return the checked bytes of the image in a data URL.

    Raises RequestRefused for any other URL, wrong base64, a format that is not offered, or an image
    over the limits; `param` is the field that the message names.
    """
    data = _decode(url, config, param)
    try:
        # PIL reads only the header here; the pixels are decoded later, once, by the data floor.
        with Image.open(io.BytesIO(data), formats=list(IMAGE_FORMATS)) as image:
            width, height = image.size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise _refused(
            f"the {len(data)} bytes are not a readable image ({error}); "
            f"send {', '.join(IMAGE_FORMATS)}",
            param,
        ) from None
    if width * height > config.max_image_pixels:
        raise _refused(
            f"the image is {width}x{height} = {width * height} pixels; at most "
            f"{config.max_image_pixels} are allowed, scale it down",
            param,
            status=413,
        )
    return data


def _decode(url: str, config: ServingConfig, param: str) -> bytes:
    match = _DATA_URL.match(url)
    if match is None:
        raise _refused(
            f"{url[:60]!r} is not a data: URL. This server fetches nothing from the network, so "
            "that "
            "nobody can make it reach addresses of its own network; send the image itself as "
            "data:image/jpeg;base64,<the file's bytes in base64>",
            param,
        )
    media_type = match["type"].lower()
    if media_type and media_type not in {*IMAGE_FORMATS.values(), "image/jpg"}:
        raise _refused(
            f"media type {media_type!r}; expected one of {', '.join(IMAGE_FORMATS.values())}", param
        )
    if "base64" not in match["parameters"].lower().split(";"):
        raise _refused("the data: URL lacks ';base64' before the comma", param)
    encoded = url[match.end() :]
    num_bytes = len(encoded) * 3 // 4
    if num_bytes > config.max_image_bytes + 3:
        raise _refused(
            f"the image has about {num_bytes} bytes; at most {config.max_image_bytes} are allowed",
            param,
            status=413,
        )
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused(f"the base64 text cannot be decoded ({error})", param) from None
    if not data:
        raise _refused("the data: URL holds no bytes", param)
    return data


def _refused(what: str, param: str, status: int = 400) -> RequestRefused:
    return RequestRefused(f"{param}: {what}", status=status, param=param, code="invalid_image")
