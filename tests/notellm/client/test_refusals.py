"""Error answers of the service, of a newer one, and of what stands before it."""

import pytest

from notellm.client.problems import BadRequest, BodyTooLarge, Busy, Failed, NotAllowed
from notellm.client.refusals import read_refusal


@pytest.mark.parametrize(
    ("status", "document", "kind", "message"),
    [
        (502, "<html>bad gateway</html>", Failed, "answers 502: <html>bad gateway"),
        (503, "", Busy, "answers 503: Service Unavailable"),
        (429, ["a list"], Busy, "answers 429: Too Many Requests"),
        (413, "too large", BodyTooLarge, "answers 413"),
        (401, {"detail": "a proxy's own"}, NotAllowed, "answers 401: a proxy's own"),
        (404, {}, BadRequest, "answers 404: Not Found"),
        (599, None, Failed, "answers 599: it does not say why"),
        (422, {"type": "urn:notellm:problem:of-a-newer-service", "detail": "new"}, BadRequest, "answers 422: new"),
        (422, {"errors": "no list", "detail": "odd"}, BadRequest, "answers 422: odd"),
    ],
)
def test_what_others_answer_is_read_by_its_status(status: int, document: object, kind: type, message: str) -> None:
    read = read_refusal(status, document, "7")
    assert type(read) is kind
    assert message in str(read)
    assert read.retry_after == 7


@pytest.mark.parametrize("after", [None, "", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "-3", "²"])
def test_other_forms_of_retry_after_are_none(after: str | None) -> None:
    assert read_refusal(503, {}, after).retry_after is None
