"""Writes the pocket world's files: JSON, JSON lines and images; equal input, equal bytes.

In: a root folder, rows and scenes. Out: files below the root, and counts of them. Knows no format
of a data set.
"""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageFilter

from components.data.pocket.scenes.scene import CELL_PX, Scene, render

JPEG_QUALITY = 92  # at 96 px a lower quality blurs signs; chroma is kept whole for the same reason
BLUR_PX = CELL_PX / 2  # an object fills a cell: nothing of its shape is left


def encode_image(scene: Scene) -> bytes:
    """The rendered scene as a JPEG file."""
    return _encoded(render(scene), "JPEG")


class RawFolder:
    """The raw folder while it is written.

    `on_image` is called with the number of images written so far.
    """

    def __init__(self, root: Path, on_image: Callable[[int], None] | None = None) -> None:
        self.root = root
        self.num_rows: dict[str, int] = {}
        self.num_images = 0
        self._on_image = on_image
        self._made: set[Path] = set()

    def image(self, path: str, scene: Scene) -> None:
        """Write the image of a scene: PNG where the name says so, else JPEG."""
        png = path.endswith(".png")
        self.bytes(path, _encoded(render(scene), "PNG") if png else encode_image(scene))
        self._count_image()

    def blurred(self, path: str, scene: Scene) -> None:
        """Write the image of a scene so far out of focus that no object can be told."""
        out_of_focus = render(scene).filter(ImageFilter.GaussianBlur(BLUR_PX))
        self.bytes(path, _encoded(out_of_focus, "JPEG"))
        self._count_image()

    def json(self, path: str, value: Any, num_rows: int) -> None:
        """Write one JSON value that holds `num_rows` rows."""
        self.bytes(path, json.dumps(value, ensure_ascii=False).encode())
        self.num_rows[path] = num_rows

    def rows(self, path: str) -> list[dict[str, Any]]:
        """Read the rows of a file that was written by `json`."""
        rows: list[dict[str, Any]] = json.loads((self.root / path).read_bytes())
        return rows

    def lines(self, path: str, rows: Sequence[dict[str, Any]]) -> None:
        """Write one JSON object a line."""
        self.bytes(
            path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()
        )
        self.num_rows[path] = len(rows)

    def table(self, path: str, text: str, num_rows: int) -> None:
        """Write a table that is already in text form."""
        self.bytes(path, text.encode())
        self.num_rows[path] = num_rows

    def bytes(self, path: str, content: bytes) -> None:
        """Write a file as it is."""
        target = self.root / path
        if target.parent not in self._made:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(target.parent)
        target.write_bytes(content)

    def _count_image(self) -> None:
        self.num_images += 1
        if self._on_image:
            self._on_image(self.num_images)


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "PNG":
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()
