"""Validates, strictly, what helm/recsys renders for the Prometheus operator: its
kinds are none of Kubernetes' own, so that kubernetes-validate does not know them.
The schemas here have what the chart uses, in the operator's spelling (API
monitoring.coreos.com/v1), and refuse the rest. Writes all other manifests to
another file. A part of scripts/chart.sh."""

import pathlib
import sys

import jsonschema
import yaml

STRING = {"type": "string", "minLength": 1}
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
DURATION = {"type": "string", "pattern": "^(0|([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$", "minLength": 1}


def of(required, **properties):
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


def listed(items):
    return {"type": "array", "minItems": 1, "items": items}


def manifest(kind, spec):
    about = of(["name", "namespace", "labels"], name=STRING, namespace=STRING, labels=STRINGS)
    return of(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "monitoring.coreos.com/v1"},
        kind={"const": kind},
        metadata=about,
        spec=spec,
    )


ALERT = of(
    ["alert", "expr", "labels", "annotations"],
    alert={"type": "string", "pattern": "^[A-Z][A-Za-z]+$"},
    expr=STRING,
    labels=of(["severity"], severity={"enum": ["critical", "warning"]}),
    annotations=of(
        ["summary", "description", "runbook_url"],
        summary=STRING,
        description=STRING,
        runbook_url={"type": "string", "pattern": "^https?://[^#\\s]+#[a-z]+$"},
    ),
    **{"for": DURATION},
)
SCHEMAS = {
    "ServiceMonitor": manifest(
        "ServiceMonitor",
        of(
            ["jobLabel", "namespaceSelector", "selector", "endpoints"],
            jobLabel=STRING,
            namespaceSelector=of(["matchNames"], matchNames=listed(STRING)),
            selector=of(["matchLabels"], matchLabels=STRINGS | {"minProperties": 1}),
            endpoints=listed(
                of(
                    ["port", "path", "interval", "scrapeTimeout"],
                    port=STRING,
                    path=STRING,
                    interval=DURATION,
                    scrapeTimeout=DURATION,
                )
            ),
        ),
    ),
    "PrometheusRule": manifest(
        "PrometheusRule",
        of(["groups"], groups=listed(of(["name", "rules"], name=STRING, rules=listed(ALERT)))),
    ),
}


def main(rendered, others):
    rest = []
    for document in yaml.safe_load_all(pathlib.Path(rendered).read_text()):
        if not document:
            continue
        if not document["apiVersion"].startswith("monitoring.coreos.com/"):
            rest.append(document)
            continue
        kind = document["kind"]
        if kind not in SCHEMAS:
            sys.exit(f"scripts/chart_custom.py: {rendered}: no schema of {kind}")
        try:
            jsonschema.validate(document, SCHEMAS[kind])
        except jsonschema.ValidationError as error:
            place = "/".join(str(part) for part in error.absolute_path)
            sys.exit(f"scripts/chart_custom.py: {rendered}: {kind}: {place}: {error.message}")
    pathlib.Path(others).write_text(yaml.safe_dump_all(rest))


if __name__ == "__main__":
    main(*sys.argv[1:])
