"""Files in the LLaVA JSON format: an array of {id, image, conversations}.

In: a file and the folder its image paths are relative to. Out: records and rejected rows,
streamed. Reference: docs/Finetune_Custom_Data.md of haotian-liu/LLaVA at c121f043.
"""

from collections.abc import Iterator

from components.data.raw.folder import RawPath
from components.data.raw.json_files import read_json_array
from components.data.records import BadRecord, Record, Rejected, parse_record, record_id


def read_file(path: RawPath, source: str, image_folder: str) -> Iterator[Record | Rejected]:
    """Yield each row as a record, or as rejected with its reason."""
    for index, raw in read_json_array(path):
        try:
            yield parse_record(raw, source, image_folder, path.name, index)
        except BadRecord as error:
            reason = error.reason
            yield Rejected(source, path.name, index, record_id(raw, index), reason)
