"""The directory of an embedded index: opens its shard, and reads and writes the description next to it."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import qdrant_edge as edge

from service.durable_files import replace_durably, sync, sync_tree
from service.errors import StartupError
from service.index.base import DELETED
from service.index.description import Description, check_served
from service.index.edge.integrity import failed

logger = logging.getLogger(__name__)
DESCRIPTION, LEDGER = "index.json", "notes.ledger"
# Without payload indexes, a filter reads the payload of every note, which takes forty times as long as the vector scan.
_PAYLOAD_INDEXES = {
    "category": edge.PayloadSchemaType.Keyword,
    "hashtag_keys": edge.PayloadSchemaType.Keyword,
    "hashtags": edge.PayloadSchemaType.Keyword,
    "created_at": edge.PayloadSchemaType.Datetime,
    DELETED: edge.PayloadSchemaType.Integer,
}


@contextmanager
def refused(path: Path) -> Iterator[None]:
    """Turns the library's errors into `StartupError`."""
    try:
        yield
    except StartupError:
        raise
    except BaseException as error:
        if not failed(error):
            raise
        if "lock" in str(error).lower():
            raise StartupError(
                f"another process has the index {path} open: stop it, or set NOTELLM_DATA_DIR to another directory"
            ) from error
        remedy = "Free disk space" if "space" in str(error).lower() else "Restore it from a backup, or move it away"
        raise StartupError(f"the index {path} cannot be opened: {error}. {remedy}") from error


def load_shard(path: Path, vector_name: str, dimensions: int) -> edge.EdgeShard:
    """Opens the shard in a directory, or makes a new one with vectors of this name.

    Raises:
        StartupError: the shard cannot be opened.
        OSError: the shard cannot be made.
    """
    if not path.exists():
        config = edge.EdgeConfig(
            vectors={vector_name: edge.EdgeVectorParams(size=dimensions, distance=edge.Distance.Cosine)},
            max_search_threads=1,
        )
        partial = path.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        edge.EdgeShard.create(str(partial), config).close()
        sync_tree(partial)
        partial.rename(path)
        sync(path.parent)
    with refused(path):
        align_config(path)
        return _with_payload_indexes(edge.EdgeShard.load(str(path)))


def align_config(path: Path) -> None:
    """Makes the shard's configuration list the vectors that its segments have.

    The library adds and drops vectors in the segments first and in the configuration afterwards. If the process is killed in between, it
    does not open the shard any more: `Incompatible configs`. Damaged files, and segments that differ from each other, are left as they are.

    Args:
        path: the directory of a shard that is not open.
    """
    file = path / "edge_config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        segments = [json.loads(one.read_text(encoding="utf-8")) for one in sorted(path.glob("segments/*/segment.json"))]
        held = [segment["config"]["vector_data"] for segment in segments]
        if not held or any(one.keys() != held[0].keys() for one in held) or held[0].keys() == config["vectors"].keys():
            return
        config["vectors"] = {
            name: config["vectors"].get(name, {"size": vectors["size"], "distance": vectors["distance"]})
            for name, vectors in held[0].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # damaged: the library says how
    logger.warning("the configuration of the index %s is brought in line with its segments after an interruption", path)
    replace_durably(file, json.dumps(config))


def _with_payload_indexes(shard: edge.EdgeShard) -> edge.EdgeShard:
    missing = _PAYLOAD_INDEXES.keys() - shard.info().payload_schema.keys()
    for field in sorted(missing):
        shard.update(edge.UpdateOperation.create_field_index(field, _PAYLOAD_INDEXES[field]))
    if missing:
        shard.flush()
    return shard


class DescriptionFile:
    """The file with the `Description` of an embedded index, next to its shard. It is replaced atomically.

    Args:
        path: the path of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def admit(self, vector_name: str, dimensions: int) -> Description:
        """Returns the description of an index that holds the model's vectors. A new index gets a description with them.

        Raises:
            StartupError: the index holds another model's vectors, or the file is damaged.
        """
        if not self._path.exists():
            self.write(Description(vector=vector_name, dimensions=dimensions))
        description = self.read()
        check_served(
            f"the index {self._path.parent}", description, vector_name, dimensions,
            "set NOTELLM_DATA_DIR to an empty directory and embed the notes again",
        )  # fmt: skip
        return description

    def read(self) -> Description:
        """Reads the description."""
        return Description.read(self._path.read_bytes(), str(self._path))

    def write(self, description: Description) -> None:
        """Writes the description, durably."""
        replace_durably(self._path, description.write() + "\n")
