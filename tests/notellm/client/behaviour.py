"""What both clients must do."""

import asyncio

import numpy as np
import pytest

from notellm.client import problems
from notellm.messages import SuggestRequest
from notellm.note import Note
from tests.notellm.client.both import Both, notes, one_after_another
from tests.notellm.client.service import Answer, Request, embedded, problem, serving


async def cuts_long_lists_and_keeps_few_requests_under_way(both: Both) -> None:
    async with serving(embedded, seconds=0.05) as server:
        found = await both(server.url, in_flight=3)("embed", (note for note in notes(64 * 6 + 1)))
    assert [one.id for one in found] == [note["id"] for note in notes(64 * 6 + 1)]
    assert found[0].vector == [1.0, 0.0]
    assert sorted(len(request.ids) for request in server.requests) == [1, *[64] * 6]
    assert 2 <= server.most_at_once <= 3


async def stores_the_later_of_two_notes_last(both: Both) -> None:
    async with serving(embedded) as server:
        found = await both(server.url)("embed", [*notes(3), {"id": "n1", "title": "newer"}])
    assert [one.id for one in found] == ["n0", "n1", "n2", "n1"]
    assert [request.ids for request in server.requests] == [["n0", "n1", "n2"], ["n1"]]


async def waits_as_long_as_it_is_told(both: Both) -> None:
    answers = one_after_another(
        problem("queue-full", 429, retry_after="7"), problem("shutting-down", 503, retry_after="1"), (0, {}, None),
        (200, {}, {"model": "m", "neighbours": []}),
    )  # fmt: skip
    async with serving(answers) as server:
        found = await both(server.url, api_key="secret", bulk=True, timeout=60)("similar", "a/b c", limit=3, hashtag=None)
    assert found.neighbours == []
    assert both.pauses[:2] == [7, 1]
    assert len(both.pauses) == 3
    assert [request.target for request in server.requests] == ["/notes/a%2Fb%20c/similar?limit=3"] * 4
    sent = server.requests[-1].headers
    assert (sent["authorization"], sent["x-priority"]) == ("Bearer secret", "bulk")
    assert 50 < float(sent["x-request-timeout"]) <= 60


async def gives_up_when_the_next_try_would_come_too_late(both: Both) -> None:
    async with serving(one_after_another(problem("rate-limited", 429, retry_after="61"))) as server:
        with pytest.raises(problems.RateLimited, match="answers 429: because") as raised:
            await both(server.url, timeout=60)("model")
    assert (raised.value.retry_after, raised.value.request_id) == (61, "r-1")
    assert (len(server.requests), both.pauses) == (1, [])


async def misses_its_deadline(both: Both) -> None:
    retries = "notellm.client.retries.MARGIN_SECONDS"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retries, 0.0)
        async with serving(embedded, seconds=300) as server:
            with pytest.raises(problems.DeadlineMissed, match=r"no answer to POST /notes/embed within 5 seconds"):
                await both(server.url)("embed", notes(1), timeout=5)
    assert len(server.requests) == 1


async def says_that_nothing_answers(both: Both) -> None:
    with pytest.raises(problems.Unreachable, match=r"http://127\.0\.0\.1:9 does not answer"):
        await both("http://127.0.0.1:9/", timeout=5)("model")
    assert both.pauses


async def says_that_something_else_answers(both: Both) -> None:
    async with serving(lambda _: (200, {}, b"<html>welcome</html>")) as server:
        with pytest.raises(problems.NotTheService, match="does not answer like notellm-serve"):
            await both(server.url)("model")
    async with serving(lambda _: (200, {}, {"hello": "world"})) as server:
        with pytest.raises(problems.NotTheService, match="does not answer like notellm-serve"):
            await both(server.url)("embed", notes(1))
    assert len(server.requests) == 1


async def a_refusal_names_the_notes_of_the_callers_list(both: Both) -> None:
    def answer(request: Request) -> Answer:
        if "n70" not in request.ids:
            return embedded(request)
        place = request.ids.index("n70")
        return problem(
            "invalid-request", 422, errors=[{"field": f"notes[{place}].title", "rule": "x", "message": "is too long"}]
        )

    async with serving(answer) as server:
        with pytest.raises(problems.InvalidRequest) as raised:
            await both(server.url)("embed", notes(130))
    assert raised.value.reasons == {70: "title: is too long"}


async def sends_fewer_notes_where_the_service_takes_fewer(both: Both) -> None:
    def answer(request: Request) -> Answer:
        if len(request.ids) <= 20:
            return embedded(request)
        if len(request.ids) > 50:
            return problem("body-too-large", 413)
        return problem("invalid-request", 422, errors=[{"field": "notes", "rule": "too_long", "message": "at most 20 notes"}])

    async with serving(answer) as server:
        found = await both(server.url, in_flight=1)("embed", notes(64))
    assert [one.id for one in found] == [note["id"] for note in notes(64)]
    assert [len(request.ids) for request in server.requests] == [64, 32, 16, 16, 32, 16, 16]
    async with serving(lambda _: problem("body-too-large", 413)) as server:
        with pytest.raises(problems.BodyTooLarge):
            await both(server.url)("embed", notes(1))


async def sends_everything_that_the_api_takes(both: Both) -> None:
    """Only what is sent; tests with a real service are in tests/service/http/test_notellm_client.py."""
    nothing = one_after_another((200, {}, {"model": "m", "dimensions": 2, "notes": []}))
    async with serving(nothing) as server:
        call = both(server.url + "/behind/a/proxy/")
        await call("embed", [])
        assert not server.requests
        # An answer with too few notes is never taken for the right one.
        with pytest.raises(problems.NotTheService, match="1 notes were sent, and 0 answered"):
            await call(
                "embed", [Note(id="a", title="x")], suggest=SuggestRequest(count=2), store=False, strict=True, vectors=False
            )
        with pytest.raises(problems.NotTheService, match="1 notes were sent, and 0 answered"):
            await call("suggest", [{"title": "x"}], count=2, category=False)
    first, second = server.requests
    assert first.target == "/behind/a/proxy/notes/embed"
    assert first.body == {
        "notes": [{"id": "a", "title": "x", "content": "", "hashtags": []}], "store": False, "strict": True, "vectors": False,
        "encoding_format": "base64", "suggest": {"count": 2, "category": True},
    }  # fmt: skip
    assert second.body == {"notes": [{"title": "x"}], "count": 2, "category": False}


async def deletes_and_reads(both: Both) -> None:
    async with serving(one_after_another((204, {}, None), problem("note-not-found", 404))) as server:
        call = both(server.url)
        assert await call("delete", "a") is True
        assert await call("delete", "a") is False
        with pytest.raises(problems.NoteNotFound):
            await call("get", "a", vector=True)
    assert [request.method for request in server.requests] == ["DELETE", "DELETE", "GET"]
    assert server.requests[-1].target == "/notes/a?vector=true&encoding_format=base64"


async def reads_all_pages(both: Both) -> None:
    def page(*ids: str, following: str | None = None) -> Answer:
        listed = [{"note": {"id": one, "hashtags": ["t"]}, "content_hash": None, "vector": None} for one in ids]
        return (
            200,
            {},
            {"vector_name": "v", "dimensions": 2, "notes": listed, "deleted": [], **({"next": following} if following else {})},
        )

    async with serving(one_after_another(page("a", "b", following="n2"), page("c"))) as server:
        found = await both(server.url)("iter_notes")
    assert [(one.id, one.title, one.hashtags, one.vector) for one in found] == [(one, "", ["t"], None) for one in "abc"]
    assert [request.target for request in server.requests] == [
        "/admin/notes?limit=100", "/admin/notes?limit=100&start=n2&vector_name=v",
    ]  # fmt: skip


async def gives_vectors_of_texts(both: Both) -> None:
    def answer(request: Request) -> Answer:
        return 200, {}, {"data": [{"embedding": "AACAPwAAAAA="} for _ in request.body["input"]]}

    async with serving(answer) as server:
        found = await both(server.url)("encode", ["x"] * 70, progress=True)
        none = await both(server.url)("encode", [])
    assert found.dtype == np.float32
    assert found.tolist() == [[1.0, 0.0]] * 70
    assert none.shape == (0, 0)
    assert sorted(len(request.body["input"]) for request in server.requests) == [6, 64]


async def a_failing_part_ends_the_others(both: Both) -> None:
    def answer(request: Request) -> Answer:
        return problem("storage-full", 507) if "n0" in request.ids else embedded(request)

    async with serving(answer, seconds=0.05) as server:
        with pytest.raises(problems.StorageFull):
            await both(server.url, in_flight=1)("embed", notes(64 * 40))
    assert len(server.requests) < 10


async def does_not_repeat_what_cannot_be_sent(both: Both) -> None:
    async with serving(embedded) as server:
        with pytest.raises(problems.ClientError, match="cannot be sent"):
            await both(server.url, api_key="a\nb")("model")
    assert (server.requests, both.pauses) == ([], [])


async def what_cannot_be_sent_is_an_error_of_the_client(both: Both) -> None:
    async with serving(embedded) as server:
        call = both(server.url)
        for wrong in ("\ud800", float("nan"), object()):
            with pytest.raises(problems.ClientError, match="cannot be sent"):
                await call("embed", [{"id": "a", "title": wrong}])
        with pytest.raises(problems.ClientError, match="cannot be sent"):
            await both(server.url, api_key="é")("model")
        for note_id in ("", ".", ".."):
            with pytest.raises(problems.ClientError, match="cannot be the id of a note"):
                await call("delete", note_id)
        with pytest.raises(problems.DeadlineMissed):
            await call("model", timeout=float("nan"))
        for method, wrong in (("encode", {"texts": "hello"}), ("similar_to", {"ids": "a1"}), ("similar_to", {"exclude": "a1"})):
            with pytest.raises(TypeError, match="is one text"):
                await call(method, **wrong)
    assert server.requests == []


async def waits_without_end_if_it_is_told_so(both: Both) -> None:
    async with serving(embedded) as server:
        assert len(await both(server.url)("embed", notes(1), timeout=float("inf"))) == 1
    assert server.requests[0].headers["x-request-timeout"] == "3600.000"


async def texts_are_halved_and_numbered_as_notes_are(both: Both) -> None:
    def answer(request: Request) -> Answer:
        texts = request.body["input"]
        if len(texts) > 32:
            return problem("invalid-request", 422, errors=[{"field": "input", "rule": "too_long", "message": "at most 32"}])
        if "bad" in texts:
            return problem(
                "invalid-request", 422, errors=[{"field": f"input[{texts.index('bad')}]", "rule": "x", "message": "is bad"}]
            )
        return 200, {}, {"data": [{"embedding": "AACAPwAAAAA="} for _ in texts]}

    async with serving(answer) as server:
        call = both(server.url)
        assert (await call("encode", ["x"] * 64)).shape == (64, 2)
        with pytest.raises(problems.InvalidRequest) as raised:
            await call("encode", [*["x"] * 70, "bad", *["x"] * 59])
    assert [error.field for error in raised.value.errors] == ["input[70]"]
    assert raised.value.reasons == {70: "is bad"}


async def other_parts_are_not_repeated_after_a_refusal(both: Both) -> None:
    """Its own pauses, which would take longer than this test may."""

    def answer(request: Request) -> Answer:
        return problem("storage-full", 507) if "n64" in request.ids else problem("queue-full", 429, retry_after="500")

    async with serving(answer, seconds=0.05) as server:
        with pytest.raises(problems.StorageFull):
            await asyncio.wait_for(both(server.url, pauses=True, timeout=1000)("embed", notes(128)), 100)
    assert len(server.requests) <= 2


CLAIMS = [
    cuts_long_lists_and_keeps_few_requests_under_way, stores_the_later_of_two_notes_last, waits_as_long_as_it_is_told,
    gives_up_when_the_next_try_would_come_too_late, misses_its_deadline, says_that_nothing_answers, says_that_something_else_answers,
    a_refusal_names_the_notes_of_the_callers_list, sends_fewer_notes_where_the_service_takes_fewer, sends_everything_that_the_api_takes,
    does_not_repeat_what_cannot_be_sent, what_cannot_be_sent_is_an_error_of_the_client, waits_without_end_if_it_is_told_so,
    texts_are_halved_and_numbered_as_notes_are, other_parts_are_not_repeated_after_a_refusal,
    deletes_and_reads, reads_all_pages, gives_vectors_of_texts, a_failing_part_ends_the_others,
]  # fmt: skip
