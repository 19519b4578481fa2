"""Asserts where deliveries of RudderStack and Segment come in, with what, and which
browser pages may call what helm/recsys installs. A part of scripts/chart_facts.py."""

# The webhook's port, where there is one.
PORTS = {"webhook": 8888, "webhook-secret": 8080, "webhook-tls": 8080}
# The Secret and its key with what a delivery must carry where there are no keys.
SECRETS = {"webhook-secret": {"name": "shop-webhook", "key": "deliveries"}}
# Names that lead to the webhook from outside, with the Secret of their certificate.
NAMES = {"webhook": ("events.shop.example", "events-tls"), "webhook-tls": ("events.shop.example", None)}
# What recsys is told of browser pages.
ABOUT_PAGES = {
    "webhook": {
        "RECSYS_GRPC_WEB": "true",
        "RECSYS_CORS_ALLOW_ORIGINS": "https://shop.example,http://localhost:5173",
    },
    "webhook-secret": {"RECSYS_GRPC_WEB": "true"},
}


def deliveries_and_pages_arrive(variant, env, has_tls):
    about = {
        name: variable["value"]
        for name, variable in env.items()
        if name.startswith("RECSYS_CORS_") or name == "RECSYS_GRPC_WEB"
    }
    variant.equal(about, ABOUT_PAGES.get(variant.name, {}), "what recsys is told of pages")

    port = PORTS.get(variant.name)
    address = env.get("RECSYS_WEBHOOK_ADDR", {}).get("value")
    variant.equal(address, f"0.0.0.0:{port}" if port else None, "RECSYS_WEBHOOK_ADDR")
    secret = env.get("RECSYS_WEBHOOK_SECRET", {}).get("valueFrom", {}).get("secretKeyRef")
    variant.equal(secret, SECRETS.get(variant.name), "the secret of deliveries")
    if port:
        # One of the two, or the program does not start.
        variant.equal("RECSYS_TENANTS_PATH" in env, secret is None, "keys, if there is no secret")

    leading = [
        (service["metadata"]["name"], of_service)
        for service in variant.of_kind("Service")
        for of_service in service["spec"]["ports"]
        if of_service["targetPort"] == "webhook"
    ]
    name = variant.one("Deployment")["metadata"]["name"]
    protocol = "https" if has_tls else "http"
    expected = {"name": "webhook", "port": port, "targetPort": "webhook", "appProtocol": protocol}
    variant.equal(leading, [(name, expected)] if port else [], "what leads to the webhook")
    only_deliveries_come_in(variant, name)
    for policy in variant.of_kind("NetworkPolicy"):
        open_ports = [p["port"] for rule in policy["spec"]["ingress"] for p in rule["ports"]]
        if policy["metadata"]["name"] == name:
            variant.equal("webhook" in open_ports, bool(port), "senders to be let in")


def only_deliveries_come_in(variant, service):
    ingresses = variant.of_kind("Ingress")
    variant.equal(len(ingresses), int(variant.name in NAMES), "number of Ingresses")
    for ingress in ingresses:
        host, certificate = NAMES[variant.name]
        (rule,) = ingress["spec"]["rules"]
        variant.equal(rule["host"], host, "the name that the world knows")
        (path,) = rule["http"]["paths"]
        variant.equal((path["path"], path["pathType"]), ("/v1/webhooks", "Prefix"), "the way in")
        variant.equal(
            path["backend"]["service"], {"name": service, "port": {"name": "webhook"}}, "what it leads to"
        )
        expected = [{"hosts": [host], "secretName": certificate}] if certificate else None
        variant.equal(ingress["spec"].get("tls"), expected, "its certificate")
