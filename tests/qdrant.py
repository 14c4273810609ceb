"""`QdrantStandIn`: Qdrant's gRPC protocol, answered by qdrant-client's local mode. For tests without a Qdrant server.

The network traffic is that of a real server: messages, metadata, TLS, status codes, broken connections. Where local mode is more lenient
than Qdrant 1.18.3, the stand-in is as strict as the server: about names of vectors, about their lengths, and about estimated counts.
It does not store, index, quantise or replicate like a server.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import grpc
from qdrant_client import AsyncQdrantClient, grpc as protocol, models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

# When its last object is collected, grpc ends its asyncio engine and waits for open calls. It would wait for ever for a call of
# another event loop, so this line keeps the engine until the process ends.
grpc.aio.init_grpc_aio()

Message = Any
Answer = Callable[[Any, Any, Any], Awaitable[Message]]
Fault = Callable[[str, Message], tuple[grpc.StatusCode, str] | None]


class QdrantStandIn:
    """A server on a port of this machine. It keeps its data when it is stopped and started again.

    Attributes:
        requests: name and message of every call, in order, refused ones included.
        fault: returns the status with which a call must fail, or None.
        status: status in the answers to successful writes.
        version: version that the server reports.
        delay: seconds before each answer.
        trailing: metadata sent with a failure.
    """

    def __init__(self, api_key: str | None = None, tls: tuple[bytes, bytes] | None = None) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.fault: Fault = lambda _name, _request: None
        self.status = protocol.UpdateStatus.Completed
        self.version = "1.19.0"
        self.delay = 0.0
        self.trailing: tuple[tuple[str, str], ...] = ()
        self.port = 0
        self._api_key = api_key
        self._tls = tls
        self._store = AsyncQdrantClient(":memory:")
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Starts to listen; after a stop, on the same port as before."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        protocol.add_PointsServicer_to_server(_Points(self, self._store), server)  # type: ignore[no-untyped-call]
        protocol.add_CollectionsServicer_to_server(_Collections(self, self._store), server)  # type: ignore[no-untyped-call]
        protocol.add_QdrantServicer_to_server(_Qdrant(self, self._store), server)  # type: ignore[no-untyped-call]
        address = f"127.0.0.1:{self.port}"
        if self._tls is None:
            self.port = server.add_insecure_port(address)
        else:
            self.port = server.add_secure_port(address, grpc.ssl_server_credentials([self._tls]))
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Closes all connections."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def calls(self, name: str) -> list[Any]:
        """Returns the messages of all calls with a name."""
        return [request for called, request in self.requests if called == name]

    async def admit(self, name: str, request: Message, context: Any) -> None:
        """Records a call, and fails it if `fault` or a wrong API key says so."""
        self.requests.append((name, request))
        if self._api_key is not None and dict(context.invocation_metadata()).get("api-key") != self._api_key:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid API key or JWT")
        if (failure := self.fault(name, request)) is not None:
            await context.abort(*failure, self.trailing)
        await asyncio.sleep(self.delay)


class _Refused(Exception):
    """What the server refuses with INVALID_ARGUMENT."""


class _Servicer:
    def __init__(self, stand_in: QdrantStandIn, store: AsyncQdrantClient) -> None:
        self.stand_in = stand_in
        self.store = store


def answers(method: Answer) -> Answer:
    """Lets `QdrantStandIn.admit` record or fail each call before `method` answers it."""

    @wraps(method)
    async def admitted(servicer: _Servicer, request: Message, context: Any) -> Message:
        await servicer.stand_in.admit(method.__name__, request, context)
        try:
            return await method(servicer, request, context)
        except _Refused as refused:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Wrong input: {refused}", servicer.stand_in.trailing)

    return admitted


class _Qdrant(_Servicer, protocol.QdrantServicer):
    @answers
    async def HealthCheck(self, _request: Any, _context: Any) -> Message:
        return protocol.HealthCheckReply(title="qdrant", version=self.stand_in.version)


class _Collections(_Servicer, protocol.CollectionsServicer):
    @answers
    async def CollectionExists(self, request: Any, _context: Any) -> Message:
        exists = await self.store.collection_exists(request.collection_name)
        return protocol.CollectionExistsResponse(result=protocol.CollectionExists(exists=exists))

    @answers
    async def Create(self, request: Any, _context: Any) -> Message:
        result = await self.store.create_collection(
            request.collection_name, vectors_config=GrpcToRest.convert_vectors_config(request.vectors_config)
        )
        return protocol.CollectionOperationResponse(result=result)

    @answers
    async def Update(self, request: Any, _context: Any) -> Message:
        if request.metadata:
            metadata = GrpcToRest.convert_payload(request.metadata)
            await self.store.update_collection(request.collection_name, metadata=metadata)
        return protocol.CollectionOperationResponse(result=True)

    @answers
    async def Delete(self, request: Any, _context: Any) -> Message:
        return protocol.CollectionOperationResponse(result=await self.store.delete_collection(request.collection_name))

    @answers
    async def Get(self, request: Any, _context: Any) -> Message:
        info = RestToGrpc.convert_collection_info(await self.store.get_collection(request.collection_name))
        for index in self.stand_in.calls("CreateFieldIndex"):
            info.payload_schema[index.field_name].data_type = index.field_type + 1  # the enumerations differ by one
        return protocol.GetCollectionInfoResponse(result=info)


class _Points(_Servicer, protocol.PointsServicer):
    def _done(self) -> Message:
        return protocol.UpdateResult(operation_id=1, status=self.stand_in.status)

    async def _vectors(self, collection: str) -> dict[str, models.VectorParams]:
        held = (await self.store.get_collection(collection)).config.params.vectors
        return held if isinstance(held, dict) else {}

    async def _check_names(self, collection: str, names: object) -> None:
        """Refuses names that the collection does not have. True and False select all vectors and none."""
        held = await self._vectors(collection)
        for name in names if isinstance(names, list) else []:
            if name not in held:
                raise _Refused(f"Not existing vector name error: {name}")

    async def _check_vectors(self, collection: str, points: list[Any]) -> None:
        held = await self._vectors(collection)
        for point in points:
            await self._check_names(collection, list(point.vector or {}))
            for name, vector in (point.vector or {}).items():
                if len(vector) != held[name].size:
                    raise _Refused(f"Vector dimension error: expected dim: {held[name].size}, got {len(vector)}")

    @answers
    async def CreateFieldIndex(self, _request: Any, _context: Any) -> Message:
        return protocol.PointsOperationResponse(result=self._done())

    @answers
    async def CreateVectorName(self, request: Any, _context: Any) -> Message:
        config = models.DenseVectorConfig(size=request.dense_config.size, distance=models.Distance.COSINE)
        await self.store.create_vector_name(
            request.collection_name, request.vector_name, models.DenseVectorNameConfig(dense=config)
        )
        return protocol.PointsOperationResponse(result=self._done())

    @answers
    async def DeleteVectorName(self, request: Any, _context: Any) -> Message:
        if request.vector_name in await self._vectors(request.collection_name):  # a name that is not there is deleted, too
            await self.store.delete_vector_name(request.collection_name, request.vector_name)
        return protocol.PointsOperationResponse(result=self._done())

    @answers
    async def UpdateBatch(self, request: Any, _context: Any) -> Message:
        operations = [GrpcToRest.convert_points_update_operation(operation) for operation in request.operations]
        for operation in operations:
            if isinstance(operation, models.UpsertOperation):
                assert isinstance(operation.upsert, models.PointsList)
                await self._check_vectors(request.collection_name, operation.upsert.points)
            elif isinstance(operation, models.UpdateVectorsOperation):
                await self._check_vectors(request.collection_name, operation.update_vectors.points)
            await self.store.batch_update_points(request.collection_name, [operation])
        return protocol.UpdateBatchResponse(result=[self._done() for _ in operations])

    @answers
    async def Get(self, request: Any, _context: Any) -> Message:
        await self._check_names(request.collection_name, GrpcToRest.convert_with_vectors_selector(request.with_vectors))
        records = await self.store.retrieve(
            request.collection_name,
            [GrpcToRest.convert_point_id(point) for point in request.ids],
            with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
            with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
        )
        return protocol.GetResponse(result=[RestToGrpc.convert_record(record) for record in records])

    @answers
    async def Scroll(self, request: Any, _context: Any) -> Message:
        await self._check_names(request.collection_name, GrpcToRest.convert_with_vectors_selector(request.with_vectors))
        records, following = await self.store.scroll(
            request.collection_name,
            offset=GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None,
            limit=request.limit,
            scroll_filter=GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None,
            with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
            with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
        )
        following = None if following is None else RestToGrpc.convert_extended_point_id(following)
        return protocol.ScrollResponse(
            result=[RestToGrpc.convert_record(record) for record in records], next_page_offset=following
        )

    @answers
    async def Query(self, request: Any, _context: Any) -> Message:
        query = GrpcToRest.convert_query_points(request)
        await self._check_names(request.collection_name, [query.using])
        await self._check_names(request.collection_name, query.with_vector)
        response = await self.store.query_points(
            request.collection_name, query=query.query, using=query.using, query_filter=query.filter, limit=query.limit or 10,
            offset=query.offset, score_threshold=query.score_threshold, with_payload=query.with_payload or False,
            with_vectors=query.with_vector or False,
        )  # fmt: skip
        return protocol.QueryResponse(result=[RestToGrpc.convert_scored_point(point) for point in response.points])

    @answers
    async def Count(self, request: Any, _context: Any) -> Message:
        counted = GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None
        result = await self.store.count(request.collection_name, count_filter=counted)
        if counted is not None and request.HasField("exact") and not request.exact:
            result.count += 2  # the server's estimates are far off for few points
        return protocol.CountResponse(result=RestToGrpc.convert_count_result(result))

    @answers
    async def Facet(self, request: Any, _context: Any) -> Message:
        counted = await self.store.facet(
            request.collection_name,
            request.key,
            facet_filter=GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None,
            limit=request.limit or 10,
        )
        hits = [
            protocol.FacetHit(value=protocol.FacetValue(string_value=str(hit.value)), count=hit.count) for hit in counted.hits
        ]
        return protocol.FacetResponse(hits=hits)
