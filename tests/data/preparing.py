"""Prepares the raw folder of the tests, packs its images, and reads what came out."""

import json
import tarfile
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq

from components.data.config import PrepareConfig
from components.data.prepare.passes import prepare
from tests.data.samples import IMAGE_TOKEN_ID

CONFIG = PrepareConfig(stage="finetune", image={"size_px": 28}, max_tokens=1024)


def run(raw, tokenizer, output, config=CONFIG, **options):
    return prepare(config, raw, tokenizer, IMAGE_TOKEN_ID, 4, output, **options)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def rejects_of(folder):
    return [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]


def pixels_of(batch):
    """Return the pixels of each row that has an image."""
    shown = iter(batch.pixels)
    rows = zip(batch.sources, batch.sample_ids, batch.has_image, strict=True)
    return {(source, name): next(shown).numpy().tobytes() for source, name, has in rows if has}


def pack_tar(raw, folder, file, prefix):
    """Move the images of a folder into a tar file."""
    with tarfile.open(raw / file, "w") as archive:
        for path in sorted((raw / folder).rglob("*.jpg")):
            data = path.read_bytes()
            member = tarfile.TarInfo(prefix + path.relative_to(raw / folder).as_posix())
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
            path.unlink()


def pack_parquet(raw, folder, file, prefix, nested):
    """Move the images of a folder into a Parquet file, last one first."""
    paths = sorted((raw / folder).rglob("*.jpg"))[::-1]
    names = [prefix + path.relative_to(raw / folder).as_posix() for path in paths]
    data = [path.read_bytes() for path in paths]
    if nested:
        columns = {"image": [{"bytes": d, "path": n} for d, n in zip(data, names, strict=True)]}
    else:
        columns = {"file_name": names, "image": data}
    pq.write_table(pa.table(columns), raw / file, row_group_size=3)
    for path in paths:
        path.unlink()
