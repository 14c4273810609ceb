"""`EdgeVectors`: keeps the vectors in the shard of an embedded index in step with the description next to it."""

from collections.abc import Mapping
from uuid import UUID

import qdrant_edge as edge

from service.errors import IndexUnavailable, InvalidRequest
from service.index.base import CHANGED, Vector
from service.index.description import Description, ModelVectors
from service.index.edge.files import DescriptionFile
from service.index.edge.integrity import failed


class EdgeVectors:
    """Adds and drops named vectors. On creation, it adds the vectors that the file names and the shard lacks, e.g. after a kill.

    Args:
        shard: the open shard.
        file: the file with the description.
        description: the description in the file.

    Attributes:
        shard: the open shard.
        description: the description in the file.
        indexed: number of notes in the graph. It is the same for all models, because the library only tells their sum.
    """

    def __init__(self, shard: edge.EdgeShard, file: DescriptionFile, description: Description) -> None:
        self.shard = shard
        self.description = description
        self._file = file
        for model in description.models:
            self._add(model)
        self._look()

    def held(self, vectors: Mapping[str, Vector]) -> dict[str, list[float]]:
        """Selects the vectors whose names are still in use.

        Raises:
            IndexUnavailable: no vector is left, because the model was dropped during the request.
        """
        names = {model.vector for model in self.description.models}
        kept = {name: vector.tolist() for name, vector in vectors.items() if name in names}
        if not kept:
            raise IndexUnavailable(CHANGED, 1)
        return kept

    def check_held(self, vector_name: str) -> None:
        """Raises `InvalidRequest` if no model has vectors of this name."""
        if vector_name not in {model.vector for model in self.description.models}:
            raise InvalidRequest.of("model", "another_model", CHANGED)

    def describe_as(self, description: Description) -> None:
        """See `NoteIndex.describe_as`."""
        for model in description.models:
            self._add(model)
        self._file.write(description)
        self.description = description
        self._look()

    def drop(self, vector_name: str) -> None:
        """See `NoteIndex.drop`."""
        self.description.check_drop(vector_name)
        if _has(self.shard, vector_name):
            self.shard.update(edge.UpdateOperation.delete_vector_name(vector_name))
            self.shard.flush()
        self.describe_as(self.description.model_copy(update={"dropping": None}))

    def _look(self) -> None:
        self.indexed = notes_in_graph(self.shard, self.description)

    def _add(self, model: ModelVectors) -> None:
        if not _has(self.shard, model.vector):
            self.shard.update(edge.UpdateOperation.create_dense_vector(model.vector, model.dimensions, edge.Distance.Cosine))
            self.shard.flush()


def notes_in_graph(shard: edge.EdgeShard, description: Description) -> int:
    """Returns the number of notes in the graph. The library counts a note once per model, including a model that is being dropped."""
    held = len(description.models)
    if description.dropping is not None and _has(shard, description.dropping):
        held += 1
    return shard.info().indexed_vectors_count // held


def _has(shard: edge.EdgeShard, vector_name: str) -> bool:
    """Says whether a shard has vectors of this name. The library cannot list them, but refuses a query for a name that it lacks."""
    nobody: set[edge.PointId] = {UUID(int=0)}
    condition = edge.Filter(must=[edge.HasIdCondition(nobody), edge.HasVectorCondition(vector_name)])
    request = edge.QueryRequest(
        limit=1,
        offset=0,
        query=edge.Query.Nearest([1.0], using=vector_name),
        filter=condition,
        with_payload=False,
        with_vector=False,
    )
    try:
        shard.query(request)
    except BaseException as error:
        if not failed(error):
            raise
        return "Not existing vector name" not in str(error)
    return True
