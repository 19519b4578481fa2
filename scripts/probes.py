"""Asks a running recsys for its health as orchestrators do: with grpc-health-probe, and
as the kubelet does, through a start, a lost Redis, TLS and a drain.

Usage: probes.py RECSYS REDIS_SERVER GRPC_HEALTH_PROBE FOLDER
"""

import pathlib
import subprocess
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import rig

program, redis_server, health_probe, folder = (pathlib.Path(name) for name in sys.argv[1:])

RECOMMENDER, CATALOG = "recsys.v1.RecommenderService", "recsys.v1.CatalogService"
NAMES = ("", "liveness", "readiness", RECOMMENDER, CATALOG)
# What grpc-health-probe exits with.
SERVING, NO_CONNECTION, RPC_FAILED, NOT_SERVING = 0, 2, 3, 4
EXITS = {SERVING: "SERVING", NO_CONNECTION: "no connection", RPC_FAILED: "the call failed",
         NOT_SERVING: "NOT_SERVING"}
TLS = ("-tls", "-tls-ca-cert", str(folder / "ours-ca.pem"), "-tls-server-name", "localhost")


def grpc_health_probe(address, service, *flags):
    """Runs the program; gives its exit code."""
    patience = f"{rig.PATIENCE_S}s"
    return subprocess.run(
        [health_probe, "-addr", address, "-service", service, "-connect-timeout", patience,
         "-rpc-timeout", patience, *flags],
        capture_output=True,
    ).returncode


def kubelet(address, service):
    """One gRPC probe as the kubelet makes it: a connection of its own, in clear, for 1 s.
    Gives what grpc-health-probe would, or None if the time was too short."""
    options = (("grpc.primary_user_agent", "kube-probe/1.37"),)
    with grpc.insecure_channel(address, options) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=1)
        except grpc.RpcError as error:
            return None if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED else RPC_FAILED
    serving = health_pb2.HealthCheckResponse.SERVING
    return SERVING if reply.status == serving else NOT_SERVING


def threshold(address, service):
    """As the kubelet, which forgives a few probes that come to nothing."""
    return rig.eventually(
        f"a probe of '{service}' is answered",
        lambda: [told for told in [kubelet(address, service)] if told is not None],
    )[0]


different = 0


def case(where, ask, expected):
    """Asks for each name; one line for all. What follows a store may be a moment behind."""
    global different
    told = {}
    for service, status in expected.items():
        told[service] = ask(service)
        if told[service] != status and service not in ("", "liveness"):
            rig.eventually(
                f"{where}, '{service}' is {EXITS[status]}", lambda: ask(service) == status
            )
            told[service] = status
    different += told != expected
    mark = "ok  " if told == expected else "FAIL"
    short = {name.rpartition(".")[2] or "(empty)": EXITS[told[name]] for name in told}
    print(f"{mark} {where}: {', '.join(f'{name} {said}' for name, said in short.items())}")


def all_names(when, server, **unlike):
    """Each name at both ports, by both means: SERVING, or what is said otherwise."""
    expected = {name: unlike.get(name.rpartition(".")[2], SERVING) for name in NAMES}
    expected["recsys.v1.NoSuchService"] = RPC_FAILED
    for port, address in (("API", server.address), ("admin port", server.admin_address)):
        for who, ask in (("grpc-health-probe", grpc_health_probe), ("kubelet", threshold)):
            case(f"{when}, {who}, {port}", lambda service: ask(address, service), expected)


def becomes(server, service, status):
    told = f"'{service}' becomes {EXITS[status]}"
    rig.eventually(told, lambda: grpc_health_probe(server.address, service) == status)
    print(f"ok   {told}")


def without_redis_and_in_a_drain():
    with rig.redis(redis_server, folder) as redis, rig.serving(
        program, folder, REDIS_URL=redis.url, RECSYS_DRAIN_DELAY="10m", RECSYS_REFLECTION="false"
    ) as server:
        becomes(server, "readiness", SERVING)
        all_names("serving", server)

        redis.stop()
        becomes(server, RECOMMENDER, NOT_SERVING)
        all_names("without Redis", server, RecommenderService=NOT_SERVING)

        redis.start()
        becomes(server, RECOMMENDER, SERVING)
        all_names("with Redis again", server)

        server.drain()
        becomes(server, "readiness", NOT_SERVING)
        all_names("draining", server, readiness=NOT_SERVING, RecommenderService=NOT_SERVING,
                  CatalogService=NOT_SERVING)


def before_it_is_ready():
    """With a Redis that never answered: alive, but nothing for calls."""
    with rig.redis(redis_server, folder) as redis:
        nobody = redis.url
    with rig.serving(program, folder, REDIS_URL=nobody) as server:
        becomes(server, CATALOG, SERVING)
        all_names("not ready yet", server, readiness=NOT_SERVING, RecommenderService=NOT_SERVING)


def over_tls_with_keys():
    rig.authority(folder, "ours")
    rig.certificate(folder, "server", "ours", "localhost")
    _, entry = rig.new_key(program, "serve")
    (folder / "tenants.toml").write_text(f'[tenants.shop]\ncollection = "shop"\n{entry}')
    with rig.serving(
        program, folder, RECSYS_TLS_CERT_FILE=folder / "server.pem",
        RECSYS_TLS_KEY_FILE=folder / "server.key", RECSYS_TENANTS_PATH=folder / "tenants.toml",
    ) as server:
        rig.eventually(
            "ready over TLS",
            lambda: grpc_health_probe(server.address, "readiness", *TLS) == SERVING,
        )
        serving = dict.fromkeys(NAMES, SERVING)
        for where, ask in (
            ("grpc-health-probe, API", lambda name: grpc_health_probe(server.address, name, *TLS)),
            ("kubelet, admin port", lambda name: threshold(server.admin_address, name)),
        ):
            case(f"TLS and keys, {where}", ask, serving)
        in_clear = lambda name: grpc_health_probe(server.address, name, "-connect-timeout", "3s")
        case("TLS and keys, grpc-health-probe in clear, API", in_clear, {"liveness": NO_CONNECTION})


without_redis_and_in_a_drain()
before_it_is_ready()
over_tls_with_keys()
sys.exit(1 if different else 0)
