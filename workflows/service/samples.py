"""The sample questions that are asked of a service after a deploy.

In: names of question files below the raw data. Out: an image and a question of each.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from components.core.errors import DataError


def sample_questions(files: Sequence[str], raw_path: Path) -> list[tuple[Path, str]]:
    """Return (image, question) of the first row of each file.

    Raises DataError for a file or row that cannot be used.
    """
    samples = []
    for name in files:
        path = raw_path / name
        try:
            row = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
            question = str(row["text"])
            image = next(p for p in _image_places(path.parent, str(row["image"])) if p.is_file())
        except (OSError, IndexError, KeyError, ValueError, StopIteration) as error:
            raise DataError(
                f"{path}: no sample question can be read from its first row ({error!r}); "
                "expected JSON lines with `image` and `text`"
            ) from None
        samples.append((image, question))
    return samples


def _image_places(folder: Path, image: str) -> list[Path]:
    return [folder / image, *sorted(folder.glob(f"*/{image}"))]
