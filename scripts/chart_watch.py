"""Checks what helm/recsys brings for Prometheus and Grafana, as far as promtool
does not: that each alert is tried where it fires and where it does not, and that the
dashboard's panels have a place and a source of their own. Writes the dashboard's
queries as a file of rules, for promtool to parse. A part of scripts/chart.sh."""

import itertools
import json
import pathlib
import sys

import yaml

DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# What Grafana puts in before it asks.
VARIABLES = {
    "$__rate_interval": "5m",
    "$__range": "3h",
    "$namespace": ".*",
    "$job": ".*",
    "$instance": ".*",
}


def check(holds, what):
    if not holds:
        sys.exit(f"scripts/chart_watch.py: expected {what}")


def each_alert_is_tried(chart):
    rules = yaml.safe_load((chart / "files/alerts.yaml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    check(len(alerts) == len(set(alerts)), "no two alerts of one name")
    tests = yaml.safe_load((chart / "tests/promtool/alerts.yaml").read_text())["tests"]
    tried = {
        (case["alertname"], bool(case["exp_alerts"]))
        for test in tests
        for case in test["alert_rule_test"]
    }
    for alert, fires in itertools.product(alerts, (True, False)):
        check((alert, fires) in tried, f"a test of {alert} that {'fires' if fires else 'does not fire'}")


def queries_of(panels):
    """All queries of the panels, with their titles."""
    taken = set()
    for panel in panels:
        title = panel["title"]
        check(panel["id"] not in taken, f"{title}: an id of its own")
        taken.add(panel["id"])
        if panel["type"] == "row":
            continue
        check(panel["datasource"] == DATA_SOURCE, f"{title}: the data source that is chosen")
        check(panel["targets"], f"{title}: a query")
        for target in panel["targets"]:
            check(target["datasource"] == DATA_SOURCE, f"{title}: the data source that is chosen")
            yield title, target["expr"]


def panels_do_not_overlap(panels):
    taken = {}
    for panel in panels:
        place = panel["gridPos"]
        check(place["x"] + place["w"] <= 24, f"{panel['title']}: within the page")
        for cell in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        ):
            check(cell not in taken, f"{panel['title']} not over {taken.get(cell)}")
            taken[cell] = panel["title"]


def main(chart, rules):
    chart = pathlib.Path(chart)
    each_alert_is_tried(chart)
    dashboard = json.loads((chart / "files/dashboard.json").read_text())
    panels_do_not_overlap(dashboard["panels"])
    records = []
    for title, query in queries_of(dashboard["panels"]):
        for name, value in VARIABLES.items():
            query = query.replace(name, value)
        check("$" not in query, f"{title}: no variable but {sorted(VARIABLES)}")
        # A rule is named as a metric is, and no two are the same.
        name = "panel:" + "".join(c if c.isalnum() else "_" for c in title) + f":{len(records)}"
        records.append({"record": name, "expr": query})
    check(len(records) > 40, "more queries on the dashboard")
    groups = {"groups": [{"name": "dashboard", "rules": records}]}
    pathlib.Path(rules).write_text(yaml.safe_dump(groups))


if __name__ == "__main__":
    main(*sys.argv[1:])
