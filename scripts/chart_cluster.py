"""Plays as much of a Kubernetes cluster as helm's lookup asks for: one that holds
the given Secrets and nothing else. Prints its address, and serves until it is
stopped. A part of scripts/chart.sh."""

import http.server
import json
import pathlib
import sys

import yaml

SECRETS = {"name": "secrets", "namespaced": True, "kind": "Secret", "verbs": ["get"]}
ANSWERS = {
    "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [SECRETS]},
}


class Cluster(http.server.BaseHTTPRequestHandler):
    answers = ANSWERS

    def do_GET(self):
        path = self.path.partition("?")[0]
        found = path in self.answers
        missing = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
        body = json.dumps(self.answers[path] if found else missing).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main(*files):
    for file in files:
        for document in yaml.safe_load_all(pathlib.Path(file).read_text()):
            if document and document["kind"] == "Secret":
                about = document["metadata"]
                path = f"/api/v1/namespaces/{about['namespace']}/secrets/{about['name']}"
                Cluster.answers[path] = document
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
