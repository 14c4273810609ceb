"""A stand-in for a cluster's API: what it has to answer before helm looks up an object in it, and no more."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# The kinds of the chart with its least values, by the path of their API.
KINDS = {
    "api/v1": ("Service", "ServiceAccount"),
    "apis/apps/v1": ("Deployment",),
    "apis/autoscaling/v2": ("HorizontalPodAutoscaler",),
    "apis/networking.k8s.io/v1": ("NetworkPolicy",),
    "apis/policy/v1": ("PodDisruptionBudget",),
}


def _described() -> dict[str, Any]:
    """What a client asks first: versions, groups, and the kinds of each."""
    answers: dict[str, Any] = {"version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}, "api": {"versions": ["v1"]}}
    groups = []
    for path, kinds in KINDS.items():
        group = path.partition("/")[2]
        resources = [{"name": f"{kind.lower()}s", "kind": kind, "namespaced": True, "verbs": ["get"]} for kind in kinds]
        answers[path] = {"kind": "APIResourceList", "groupVersion": group, "resources": resources}
        if path != "api/v1":
            version = {"groupVersion": group, "version": group.partition("/")[2]}
            groups.append({"name": group.partition("/")[0], "versions": [version], "preferredVersion": version})
    return answers | {"apis": {"kind": "APIGroupList", "groups": groups}}


@contextmanager
def answering_cluster(objects: dict[str, Any]) -> Iterator[str]:
    """The address of one that has these objects, by their paths."""
    answers = _described() | objects

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0].strip("/"))
            body = json.dumps(found or {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
