"""Calls a recsys as a client in another language does: with plain grpcio, over
TLS, with client certificates, with keys. One line a case; exit code 1 if any
ends otherwise than it must.

Usage: security_client.py RECSYS FOLDER
RECSYS is the program, FOLDER holds the generated stubs and room for files.
"""

import contextlib
import pathlib
import re
import subprocess
import sys

program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
sys.path.insert(0, str(folder / "stubs"))

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from recsys.v1 import recommender_pb2, recommender_pb2_grpc, types_pb2

# Longest that a call or a start may take: only to end what hangs.
PATIENCE_S = 60


def authority(name):
    """Makes an authority: NAME-ca.pem and its key."""
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "2", "-subj", f"/CN={name} authority",
            "-keyout", f"{name}-ca.key", "-out", f"{name}-ca.pem")


def certificate(name, issuer, dns):
    """Has an authority vouch for a name: NAME.pem and NAME.key."""
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-subj", f"/CN={dns}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / f"{name}.ext").write_text(
        f"subjectAltName=DNS:{dns}\nextendedKeyUsage=serverAuth,clientAuth\n"
    )
    openssl("x509", "-req", "-in", f"{name}.csr", "-days", "2", "-extfile", f"{name}.ext",
            "-CA", f"{issuer}-ca.pem", "-CAkey", f"{issuer}-ca.key", "-CAcreateserial",
            "-out", f"{name}.pem")


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def new_key(*roles, more=""):
    """Makes a key as operators do. Returns it, and its entry for the file."""
    arguments = [program, "keys", "new", "shop"]
    for role in roles:
        arguments += ["--role", role]
    made = subprocess.run(arguments, check=True, capture_output=True, text=True)
    entry = made.stderr.split("Add to the tenants file:")[1]
    return made.stdout.strip(), f"{entry}{more}\n"


@contextlib.contextmanager
def serving(**settings):
    """Runs the program until the block ends; gives its port."""
    process = subprocess.Popen(
        [program, "serve", "--listen-addr", "127.0.0.1:0"],
        env={"RECSYS_LOG_FORMAT": "text"}
        | {name: str(value) for name, value in settings.items()},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        told = ""
        for line in process.stderr:
            told += line
            at = re.search(r"serving gRPC address=\S*:(\d+)", line)
            if at:
                break
        else:
            sys.exit(f"recsys did not start:\n{told}")
        yield int(at[1])
    finally:
        process.kill()
        process.communicate()


def read(name):
    return (folder / name).read_bytes()


def over_tls(port, ca, client=None):
    """A channel that trusts an authority, and shows a certificate if one is given."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=read(f"{ca}-ca.pem"),
        private_key=read(f"{client}.key") if client else None,
        certificate_chain=read(f"{client}.pem") if client else None,
    )
    return grpc.secure_channel(f"localhost:{port}", credentials)


def in_clear(port):
    return grpc.insecure_channel(f"127.0.0.1:{port}")


def recommend(stub, metadata):
    request = recommender_pb2.RecommendRequest(user_id="ada", limit=3)
    reply = stub.Recommend(request, metadata=metadata, timeout=PATIENCE_S)
    assert len(reply.items) == 3, reply


def ingest(stub, metadata):
    event = types_pb2.InteractionEvent(
        user_id="ada", event_type="CONTENT_VIEW_STARTED", content_id="2001"
    )
    request = recommender_pb2.IngestEventRequest(event=event)
    stub.IngestEvent(request, metadata=metadata, timeout=PATIENCE_S)


def many_calls(stub, metadata):
    """More than a quota of one call a second allows."""
    for _ in range(1000):
        recommend(stub, metadata)


def reason(error):
    """The stable reason that goes with an error."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return ""


def outcome(channel, call, metadata):
    with channel:
        try:
            call(recommender_pb2_grpc.RecommenderServiceStub(channel), metadata)
        except grpc.RpcError as error:
            return f"{error.code().name} {reason(error)}".strip()
    return "OK"


different = 0


def case(name, expected, channel, call=recommend, metadata=()):
    global different
    told = outcome(channel, call, metadata)
    same = told == expected
    different += not same
    print(f"{'ok  ' if same else 'FAIL'} {name}: {told}" + ("" if same else f", not {expected}"))


def bearer(key):
    return (("authorization", f"Bearer {key}"),)


for name in ("ours", "theirs"):
    authority(name)
certificate("server", "ours", "localhost")
certificate("shop", "ours", "shop.example")
certificate("stranger", "theirs", "shop.example")
tls = {
    "RECSYS_TLS_CERT_FILE": folder / "server.pem",
    "RECSYS_TLS_KEY_FILE": folder / "server.key",
}

with serving(**tls) as port:
    case("TLS, our authority", "OK", over_tls(port, "ours"))
    case("TLS, another authority", "UNAVAILABLE", over_tls(port, "theirs"))
    case("plaintext to TLS", "UNAVAILABLE", in_clear(port))

mutual = {**tls, "RECSYS_TLS_CLIENT_CA_FILE": folder / "ours-ca.pem"}
with serving(**mutual) as port:
    case("client certificate", "OK", over_tls(port, "ours", "shop"))
    case("no client certificate", "UNAVAILABLE", over_tls(port, "ours"))
    case("client certificate of another authority", "UNAVAILABLE",
         over_tls(port, "ours", "stranger"))

with serving(**mutual, RECSYS_TLS_CLIENT_NAMES="other.example") as port:
    case("client certificate of a name not listed", "UNAVAILABLE",
         over_tls(port, "ours", "shop"))

key, serve = new_key("serve")
few, quota = new_key("serve", more="calls_per_second = 1")
(folder / "tenants.toml").write_text(
    f'[tenants.shop]\ncollection = "shop"\n{serve}{quota}'
)
with serving(**tls, RECSYS_TENANTS_PATH=folder / "tenants.toml") as port:
    def ours():
        return over_tls(port, "ours")

    case("key", "OK", ours(), metadata=bearer(key))
    case("key in x-api-key", "OK", ours(), metadata=(("x-api-key", key),))
    case("no key", "UNAUTHENTICATED KEY_UNKNOWN", ours())
    case("wrong key", "UNAUTHENTICATED KEY_UNKNOWN", ours(), metadata=bearer(key[:-4] + "xxxx"))
    case("wrong role", "PERMISSION_DENIED ROLE_MISSING", ours(), ingest, bearer(key))
    case("another tenant", "PERMISSION_DENIED TENANT_MISMATCH", ours(),
         metadata=bearer(key) + (("x-tenant-id", "museum"),))
    case("quota", "RESOURCE_EXHAUSTED QUOTA_EXCEEDED", ours(), many_calls, bearer(few))

sys.exit(1 if different else 0)
