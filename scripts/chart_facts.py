"""Asserts what a careless change of helm/recsys must not break: probes, drain
times, security settings, where secrets are, and that every reference between
manifests has a target. Run by scripts/chart.sh on the rendered variants."""

import base64
import pathlib
import sys

import yaml

from chart_callers import only_who_should_may_call
from chart_web import PORTS, deliveries_and_pages_arrive

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod")

# Secrets and config maps that a variant takes from elsewhere.
FROM_ELSEWHERE = {
    "own-password": {("Secret", "shop-redis", "pass")},
    "external-secret": {("Secret", "shop-redis", "redis-url")},
    "sentinel": {
        ("Secret", "shop-redis", "redis-url"),
        ("Secret", "shop-sentinel", "sentinel-password"),
        ("Secret", "shop-redis-tls", "ca.crt"),
        ("Secret", "shop-redis-tls", "tls.crt"),
        ("Secret", "shop-redis-tls", "tls.key"),
    },
    "cluster": {("Secret", "shop-redis-tls", "ca.crt")},
    "qdrant": {
        ("Secret", "shop-qdrant", "api-key"),
        ("Secret", "shop-qdrant-tls", "ca.crt"),
    },
    "everything": {("ConfigMap", "shop", "prefix"), ("ConfigMap", "catalogue", None)},
    "confined": {("Secret", "shop-redis", "redis-url")},
    "webhook-secret": {("Secret", "shop-webhook", "deliveries")},
    "webhook-tls": {("Secret", "shop-tls", "tls.crt"), ("Secret", "shop-tls", "tls.key")},
    "plain": {
        ("Secret", "recsys-redis", "redis-url"),
        ("Secret", "recsys-qdrant", "api-key"),
        ("Secret", "recsys-tenants", None),
    },
    "own-tenants": {("Secret", "shop-tenants", None)},
    "tls": {("Secret", "shop-tls", "tls.crt"), ("Secret", "shop-tls", "tls.key")},
    "client-certificates": {
        ("Secret", "shop-tenants", None),
        ("Secret", "shop-tls", "tls.crt"),
        ("Secret", "shop-tls", "tls.key"),
        ("Secret", "shop-clients", "clients.crt"),
    },
}
STATE = {
    "default": "bundled",
    "own-password": "bundled",
    "external-url": "external",
    "external-secret": "external",
    "sentinel": "external",
    "cluster": "external",
    "qdrant": "bundled",
    "in-memory": "memory",
    "ranking": "bundled",
    "no-admin": "bundled",
    "everything": "bundled",
    "own-tenants": "bundled",
    "no-keys": "bundled",
    "tls": "bundled",
    "client-certificates": "bundled",
    "autoscaled": "bundled",
    "confined": "external",
    "watched": "bundled",
    "webhook": "bundled",
    "webhook-secret": "bundled",
    "webhook-tls": "bundled",
    "plain": "external",
}
# What recsys is told of TLS on the API's port.
CERTIFICATE = {
    "RECSYS_TLS_CERT_FILE": "/etc/recsys-tls/tls.crt",
    "RECSYS_TLS_KEY_FILE": "/etc/recsys-tls/tls.key",
}
ABOUT_TLS = {
    "tls": CERTIFICATE,
    "webhook-tls": CERTIFICATE,
    "client-certificates": CERTIFICATE
    | {
        "RECSYS_TLS_CLIENT_CA_FILE": "/etc/recsys-client-ca/ca.crt",
        "RECSYS_TLS_CLIENT_NAMES": "web.shop.example,spiffe://shop.example/web",
    },
}
# What recsys is told of Redis beside the URL. None: it is in a Secret.
ABOUT_EXTERNAL_REDIS = {
    "REDIS_MODE": "auto",
    "REDIS_SENTINEL_MASTER": "mymaster",
    "REDIS_WAIT_REPLICAS": "0",
}
ABOUT_REDIS = {
    "bundled": {"REDIS_MODE": "single"},
    "external": ABOUT_EXTERNAL_REDIS,
    "memory": {},
    "sentinel": {
        "REDIS_MODE": "sentinel",
        "REDIS_SENTINEL_MASTER": "shop",
        "REDIS_SENTINEL_USERNAME": "recsys",
        "REDIS_SENTINEL_PASSWORD": None,
        "REDIS_WAIT_REPLICAS": "1",
        "REDIS_TLS_CA_FILE": "/etc/redis-tls/ca.crt",
        "REDIS_TLS_CERT_FILE": "/etc/redis-tls/tls.crt",
        "REDIS_TLS_KEY_FILE": "/etc/redis-tls/tls.key",
    },
    "cluster": ABOUT_EXTERNAL_REDIS
    | {"REDIS_MODE": "cluster", "REDIS_TLS_CA_FILE": "/etc/redis-tls/ca.crt"},
}

# What recsys is told of Qdrant; without anything items are in memory.
ABOUT_QDRANT = {
    "qdrant": {
        "QDRANT_API_URL": "https://qdrant.example:6334",
        "QDRANT_API_KEY": None,
        "COLLECTION_NAME": "items",
        "QDRANT_TLS_CA_FILE": "/etc/qdrant-tls/ca.crt",
    },
    "everything": {
        "QDRANT_API_URL": "http://qdrant.shop.svc:6333",
        "COLLECTION_NAME": 'the "shop"',
        "QDRANT_GRPC_PORT": "16334",
    },
    "confined": {"QDRANT_API_URL": "https://qdrant.example:6334", "COLLECTION_NAME": "items"},
    "plain": {
        "QDRANT_API_URL": "http://qdrant.qdrant.svc:6334",
        "QDRANT_API_KEY": None,
        "COLLECTION_NAME": "items",
    },
}


class Variant:
    """The manifests of one variant."""

    def __init__(self, path):
        self.name = path.stem
        self.documents = [d for d in yaml.safe_load_all(path.read_text()) if d]

    def of_kind(self, *kinds):
        return [d for d in self.documents if d["kind"] in kinds]

    def one(self, kind, suffix=""):
        found = [d for d in self.of_kind(kind) if d["metadata"]["name"].endswith(suffix)]
        self.check(len(found) == 1, f"one {kind} *{suffix}, but there are {len(found)}")
        return found[0]

    def check(self, holds, what):
        if not holds:
            sys.exit(f"scripts/chart_facts.py: variant {self.name}: expected {what}")

    def equal(self, got, expected, what):
        self.check(got == expected, f"{what} to be {expected!r}, but it is {got!r}")


def pod_of(workload):
    return (workload if workload["kind"] == "Pod" else workload["spec"]["template"])["spec"]


def labels_of(workload):
    """What the pods of a workload are labelled with."""
    return (workload if workload["kind"] == "Pod" else workload["spec"]["template"])["metadata"]["labels"]


def env_of(container):
    return {variable["name"]: variable for variable in container["env"]}


def has_admin(variant):
    return variant.name != "no-admin"


def has_tls(variant):
    return variant.name in ABOUT_TLS


def pods_are_confined(variant):
    for workload in variant.of_kind(*WORKLOADS):
        name = workload["metadata"]["name"]
        pod = pod_of(workload)
        variant.equal(pod["automountServiceAccountToken"], False, f"{name}: service account token")
        variant.equal(pod["enableServiceLinks"], False, f"{name}: service links")
        variant.equal(pod["securityContext"]["runAsNonRoot"], True, f"{name}: runAsNonRoot")
        variant.check(pod["securityContext"]["runAsUser"] > 0, f"{name}: a user by number")
        variant.equal(
            pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"}, f"{name}: seccomp"
        )
        for shared in ("hostNetwork", "hostPID", "hostIPC"):
            variant.check(not pod.get(shared), f"{name}: no {shared}")
        for container in pod.get("initContainers", []) + pod["containers"]:
            variant.equal(
                container["securityContext"],
                {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                f"{name}: the container's security context",
            )
            resources = container["resources"]
            variant.check("memory" in resources["limits"], f"{name}: a memory limit")
            variant.check("memory" in resources["requests"], f"{name}: a memory request")


def server_is_probed_and_drained(variant):
    deployment = variant.one("Deployment")
    pod = pod_of(deployment)
    (container,) = pod["containers"]
    for probe, service in (
        ("startupProbe", "liveness"),
        ("livenessProbe", "liveness"),
        ("readinessProbe", "readiness"),
    ):
        # Probes know no TLS.
        port = 9090 if has_tls(variant) else 50051
        variant.equal(container[probe]["grpc"], {"port": port, "service": service}, probe)
    startup = container["startupProbe"]
    variant.check(startup["periodSeconds"] * startup["failureThreshold"] >= 60, "60 s to start")
    variant.check(
        container["readinessProbe"]["failureThreshold"] >= 2, "one lost probe not to empty the Service"
    )
    strategy = deployment["spec"]["strategy"]
    variant.equal(strategy["type"], "RollingUpdate", "strategy")
    variant.equal(strategy["rollingUpdate"]["maxUnavailable"], 0, "maxUnavailable")

    env = env_of(container)
    variant.equal(len(env), len(container["env"]), "number of distinct variables")
    variant.equal(env["RECSYS_LISTEN_ADDR"]["value"], "0.0.0.0:50051", "RECSYS_LISTEN_ADDR")
    # Off must be said: the image turns it on.
    admin = "0.0.0.0:9090" if has_admin(variant) else ""
    variant.equal(env["RECSYS_ADMIN_ADDR"]["value"], admin, "RECSYS_ADMIN_ADDR")
    ports = {"grpc": 50051} | ({"admin": 9090} if has_admin(variant) else {})
    if variant.name in PORTS:
        ports["webhook"] = PORTS[variant.name]
    variant.equal(
        {port["name"]: port["containerPort"] for port in container["ports"]}, ports, "container ports"
    )
    delay, drain = (20, 45) if variant.name == "everything" else (5, 10)
    variant.equal(env["RECSYS_DRAIN_DELAY"]["value"], f"{delay}s", "RECSYS_DRAIN_DELAY")
    variant.equal(env["RECSYS_DRAIN_TIMEOUT"]["value"], f"{drain}s", "RECSYS_DRAIN_TIMEOUT")
    variant.equal(
        pod["terminationGracePeriodSeconds"], delay + drain + 15, "terminationGracePeriodSeconds"
    )
    for size in ("EMBEDDED_STATE_MAX_BYTES", "EMBEDDED_CATALOG_MAX_BYTES"):
        variant.check(env[size]["value"].isdecimal(), f"{size} in digits only")
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    variant.check("checksum/config" in annotations, "a checksum of the config")


def services_reach_pods(variant):
    name = variant.one("Deployment")["metadata"]["name"]
    service, headless = (variant.one("Service", name + suffix) for suffix in ("", "-headless"))
    grpc = {
        "name": "grpc",
        "port": 50051,
        "targetPort": "grpc",
        "appProtocol": "https" if has_tls(variant) else "kubernetes.io/h2c",
    }
    variant.equal(service["spec"]["type"], "ClusterIP", "type of the Service")
    ports = [port for port in service["spec"]["ports"] if port["name"] != "webhook"]
    variant.equal(ports, [grpc], "ports of the Service")
    variant.equal(headless["spec"]["clusterIP"], "None", "clusterIP of the headless Service")
    variant.equal(headless["spec"]["ports"], [grpc], "ports of the headless Service")
    if has_admin(variant):
        metrics = variant.one("Service", name + "-metrics")
        variant.equal(
            metrics["spec"]["ports"],
            [{"name": "metrics", "port": 9090, "targetPort": "admin", "appProtocol": "http"}],
            "ports of the Service for metrics",
        )
        variant.equal(metrics["spec"]["clusterIP"], "None", "each pod to be scraped by itself")
        variant.equal(
            metrics["spec"]["publishNotReadyAddresses"], True, "pods to be scraped that are not ready"
        )
    leading_to_admin = [
        s for s in variant.of_kind("Service") if "admin" in (p["targetPort"] for p in s["spec"]["ports"])
    ]
    variant.equal(len(leading_to_admin), int(has_admin(variant)), "Services that lead to the admin port")

    # A Service that selects the pods of Redis too would send them gRPC calls.
    for service in variant.of_kind("Service"):
        name = service["metadata"]["name"]
        variant.check(len(name) <= 63, f"{name}: at most 63 characters")
        wanted = service["spec"]["selector"].items()
        reached = [
            w for w in variant.of_kind(*WORKLOADS)
            if wanted <= labels_of(w).items()
        ]
        variant.equal(len(reached), 1, f"{name}: number of workloads selected")
        ports = {p["name"] for c in pod_of(reached[0])["containers"] for p in c["ports"]}
        for port in service["spec"]["ports"]:
            variant.check(port["targetPort"] in ports, f"{name}: a container port {port['targetPort']}")
    for workload in variant.of_kind("Deployment", "StatefulSet"):
        selector = workload["spec"]["selector"]["matchLabels"]
        variant.check(
            not {"helm.sh/chart", "app.kubernetes.io/version"} & selector.keys(),
            "selectors without a version: they cannot be changed",
        )


def policies_reach_what_they_name(variant):
    """Selectors of pods in policies and budgets find pods of this release."""
    pods = [labels_of(workload) for workload in variant.of_kind(*WORKLOADS)]
    for document in variant.of_kind("NetworkPolicy", "PodDisruptionBudget"):
        spec = document["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        found = [p for p in pods if selector["matchLabels"].items() <= p.items()]
        variant.equal(len(found), 1, f"{document['metadata']['name']}: workloads selected")
    for policy in variant.of_kind("NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            variant.check(rule["from"], f"{policy['metadata']['name']}: not everyone let in")
    budgets = variant.of_kind("PodDisruptionBudget")
    variant.equal(len(budgets), int(variant.name != "no-admin"), "number of disruption budgets")
    spread = pod_of(variant.one("Deployment")).get("topologySpreadConstraints", [])
    variant.equal(bool(spread), variant.name != "no-admin", "pods to be spread")


def secrets_are_in_secrets_only(variant):
    secrets = variant.of_kind("Secret")
    others = [d for d in variant.documents if d["kind"] != "Secret"]
    for secret in secrets:
        for key, value in secret["data"].items():
            plain = base64.b64decode(value).decode()
            variant.check(len(plain) >= 24, f"{key} to be long enough")
            for other in others:
                text = yaml.safe_dump(other, width=10_000)
                variant.check(
                    plain not in text and value not in text and "hunter2" not in text,
                    f"no {key} in {other['kind']} {other['metadata']['name']}",
                )
    for workload in variant.of_kind(*WORKLOADS):
        for container in pod_of(workload)["containers"]:
            for name, variable in env_of(container).items():
                if name.endswith(("PASSWORD", "API_KEY", "_SECRET")):
                    variant.check("secretKeyRef" in variable.get("valueFrom", {}), f"{name} from a Secret")


def references_have_targets(variant):
    elsewhere = FROM_ELSEWHERE.get(variant.name, set())
    there = set(elsewhere)
    for source in variant.of_kind("Secret", "ConfigMap"):
        name = (source["kind"], source["metadata"]["name"])
        there.add((*name, None))
        there.update((*name, key) for key in source["data"])
    used = set()

    def refer(target, why):
        variant.check(target in there, f"{target} for {why}")
        used.add(target)

    for workload in variant.of_kind(*WORKLOADS):
        pod = pod_of(workload)
        for container in pod["containers"]:
            for variable in container["env"]:
                for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                    if reference := variable.get("valueFrom", {}).get(field):
                        refer((kind, reference["name"], reference["key"]), variable["name"])
            volumes = {v["name"] for v in pod.get("volumes", [])}
            volumes |= {
                c["metadata"]["name"] for c in workload["spec"].get("volumeClaimTemplates", [])
            }
            for mount in container.get("volumeMounts", []):
                variant.check(mount["name"] in volumes, f"a volume {mount['name']}")
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                refer(("ConfigMap", volume["configMap"]["name"], None), "a volume")
            if "secret" not in volume:
                continue
            # A tenants file of one's own may have ranking files beside it.
            if volume["name"] == "tenants" and "items" not in volume["secret"]:
                refer(("Secret", volume["secret"]["secretName"], None), "a volume")
                continue
            # By items: what else the Secret has does not belong in the pod.
            for item in volume["secret"]["items"]:
                refer(("Secret", volume["secret"]["secretName"], item["key"]), "a volume")
    variant.equal(elsewhere - used, set(), "what is given and not used")


def state_is_where_it_should_be(variant):
    state = STATE[variant.name]
    (container,) = pod_of(variant.one("Deployment"))["containers"]
    env = env_of(container)
    about = {
        name: variable.get("value")
        for name, variable in env.items()
        if name.startswith("REDIS_")
        and name not in ("REDIS_URL", "REDIS_PASSWORD", "REDIS_KEY_PREFIX")
    }
    variant.equal(about, ABOUT_REDIS.get(variant.name, ABOUT_REDIS[state]), "what recsys is told of Redis")
    if state == "memory":
        variant.check("REDIS_URL" not in env, "no REDIS_URL")
    if state == "external":
        variant.check(
            "secretKeyRef" in env["REDIS_URL"].get("valueFrom", {}), "REDIS_URL from a Secret"
        )
    if state != "bundled":
        variant.equal(variant.of_kind("StatefulSet", "PersistentVolumeClaim"), [], "what is bundled")
        return

    redis = variant.one("StatefulSet", "-redis")
    name = redis["metadata"]["name"]
    variant.check(len(name) <= 52, "a name that leaves room for a hash")
    variant.equal(
        env["REDIS_URL"]["value"], f"redis://:$(REDIS_PASSWORD)@{name}:6379/0", "REDIS_URL"
    )
    order = [variable["name"] for variable in container["env"]]
    variant.check(
        order.index("REDIS_PASSWORD") < order.index("REDIS_URL"),
        "REDIS_PASSWORD before REDIS_URL, which refers to it",
    )
    variant.equal(redis["spec"]["replicas"], 1, "replicas of Redis")
    (server,) = pod_of(redis)["containers"]
    variant.equal(
        env_of(server)["REDISCLI_AUTH"]["valueFrom"],
        env["REDIS_PASSWORD"]["valueFrom"],
        "the password that Redis asks for",
    )
    variant.check("requirepass $REDISCLI_AUTH" in server["command"][-1], "a password to be required")
    for probe in ("livenessProbe", "readinessProbe"):
        variant.check("redis-cli ping" in " ".join(server[probe]["exec"]["command"]), probe)
    lines = variant.one("ConfigMap", "-redis")["data"]["redis.conf"].splitlines()
    for line in ("appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction", "dir /data"):
        variant.check(line in lines, f"{line!r} in redis.conf")
    variant.check(any(line.startswith("maxmemory ") for line in lines), "maxmemory in redis.conf")
    mounts = {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]}
    (claim,) = redis["spec"]["volumeClaimTemplates"]
    variant.equal(mounts["/data"], claim["metadata"]["name"], "the volume of /data")
    variant.check(
        not {"helm.sh/chart", "app.kubernetes.io/version"} & claim["metadata"]["labels"].keys(),
        "a volume claim without a version: it cannot be changed",
    )
    variant.equal(
        redis["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"], "Retain", "the data"
    )


def items_are_where_they_should_be(variant):
    (container,) = pod_of(variant.one("Deployment"))["containers"]
    about = {
        name: variable.get("value")
        for name, variable in env_of(container).items()
        if name.startswith("QDRANT_") or name == "COLLECTION_NAME"
    }
    variant.equal(about, ABOUT_QDRANT.get(variant.name, {}), "what recsys is told of Qdrant")


def certificates_arrive(variant):
    pod = pod_of(variant.one("Deployment"))
    (container,) = pod["containers"]
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    mounts = {mount["mountPath"]: mount for mount in container.get("volumeMounts", [])}
    env = {name: variable.get("value") for name, variable in env_of(container).items()}
    about = {name: value for name, value in env.items() if name.startswith("RECSYS_TLS_")}
    variant.equal(about, ABOUT_TLS.get(variant.name, {}), "what recsys is told of TLS")
    files = {value for name, value in env.items() if "_TLS_" in name and name.endswith("_FILE")}
    for path in ("/etc/redis-tls", "/etc/qdrant-tls", "/etc/recsys-tls", "/etc/recsys-client-ca"):
        wanted = {file for file in files if file.startswith(f"{path}/")}
        variant.equal(path in mounts, bool(wanted), f"{path} to be mounted")
        if not wanted:
            continue
        files -= wanted
        variant.equal(mounts[path]["readOnly"], True, f"{path} mounted read-only")
        secret = volumes[mounts[path]["name"]]["secret"]
        variant.equal(
            {f"{path}/{item['path']}" for item in secret["items"]}, wanted, "files of certificates"
        )
        variant.equal(secret["defaultMode"], 0o440, "who may read the key")
        variant.equal(
            pod["securityContext"]["fsGroup"],
            pod["securityContext"]["runAsGroup"],
            "the group that may",
        )
    variant.equal(files, set(), "certificates that nothing is mounted for")


def ranking_file_arrives(variant, ranking):
    (container,) = pod_of(variant.one("Deployment"))["containers"]
    path = env_of(container).get("RECSYS_RANKING_PATH")
    if variant.name not in ("ranking", "everything"):
        variant.equal(path, None, "RECSYS_RANKING_PATH")
        return
    variant.equal(path["value"], "/etc/recsys/ranking.toml", "RECSYS_RANKING_PATH")
    variant.check(
        any(mount["mountPath"] == "/etc/recsys" for mount in container["volumeMounts"]),
        "/etc/recsys to be mounted",
    )
    if variant.name == "ranking":
        name = variant.one("Deployment")["metadata"]["name"]
        held = variant.one("ConfigMap", name)["data"]["ranking.toml"]
        variant.equal(held.rstrip(), ranking.rstrip(), "ranking.toml")


def the_checksum_follows_the_ranking_file(variants):
    def checksum(variant):
        template = variant.one("Deployment")["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/config"]

    variants["ranking"].check(
        checksum(variants["ranking"]) != checksum(variants["default"]),
        "another checksum than without a ranking file",
    )


def main(directory, ranking):
    variants = {path.stem: Variant(path) for path in sorted(pathlib.Path(directory).glob("*.yaml"))}
    if variants.keys() != STATE.keys():
        sys.exit(f"scripts/chart_facts.py: variants {sorted(variants)}, expected {sorted(STATE)}")
    ranking = pathlib.Path(ranking).read_text()
    for variant in variants.values():
        pod = pod_of(variant.one("Deployment"))
        only_who_should_may_call(variant, pod, env_of(pod["containers"][0]))
        pods_are_confined(variant)
        server_is_probed_and_drained(variant)
        services_reach_pods(variant)
        policies_reach_what_they_name(variant)
        secrets_are_in_secrets_only(variant)
        references_have_targets(variant)
        state_is_where_it_should_be(variant)
        items_are_where_they_should_be(variant)
        certificates_arrive(variant)
        deliveries_and_pages_arrive(variant, env_of(pod["containers"][0]), has_tls(variant))
        ranking_file_arrives(variant, ranking)
    the_checksum_follows_the_ranking_file(variants)


if __name__ == "__main__":
    main(*sys.argv[1:])
