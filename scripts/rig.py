"""What scripts that try a running recsys share: servers, Redis, certificates, keys.

All of it listens on the loopback, on ports that the system picks, and ends with the
block that began it. Files are made in the folder that the caller names.
"""

import contextlib
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.request

# Longest that something may take that normally takes a moment: only to end what
# hangs.
PATIENCE_S = 60


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def authority(folder, name):
    """Makes an authority: NAME-ca.pem and its key."""
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "2", "-subj", f"/CN={name} authority",
            "-keyout", f"{name}-ca.key", "-out", f"{name}-ca.pem")


def certificate(folder, name, issuer, dns):
    """Has an authority vouch for a name: NAME.pem and NAME.key."""
    openssl(folder, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-subj", f"/CN={dns}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    pathlib.Path(folder, f"{name}.ext").write_text(
        f"subjectAltName=DNS:{dns}\nextendedKeyUsage=serverAuth,clientAuth\n"
    )
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-days", "2", "-extfile", f"{name}.ext",
            "-CA", f"{issuer}-ca.pem", "-CAkey", f"{issuer}-ca.key", "-CAcreateserial",
            "-out", f"{name}.pem")


def new_key(program, *roles, more=""):
    """Makes a key as operators do. Returns it, and its entry for the file."""
    arguments = [program, "keys", "new", "shop"]
    for role in roles:
        arguments += ["--role", role]
    made = subprocess.run(arguments, check=True, capture_output=True, text=True)
    entry = made.stderr.split("Add to the tenants file:")[1]
    return made.stdout.strip(), f"{entry}{more}\n"


def eventually(what, holds):
    """Waits until something holds, and gives what it gave."""
    until = time.monotonic() + PATIENCE_S
    while True:
        told = holds()
        if told:
            return told
        if time.monotonic() > until:
            raise AssertionError(f"{what}: not within {PATIENCE_S} s")
        time.sleep(0.05)


class Server:
    """A running recsys."""

    def __init__(self, process, log):
        self.process, self.log = process, log
        self.port = self._port("serving gRPC")
        self.admin_port = None

    def _port(self, announced):
        def told():
            text = self.log.read_text()
            at = re.search(announced + r".* address=\S*:(\d+)", text)
            if not at and self.process.poll() is not None:
                raise AssertionError(f"recsys did not start:\n{text}")
            return at and int(at[1])

        return eventually(f"recsys says '{announced}'", told)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def admin_address(self):
        self.admin_port = self.admin_port or self._port("serving metrics and health")
        return f"127.0.0.1:{self.admin_port}"

    def calls(self, method):
        """How often it has answered a call with OK."""
        with urllib.request.urlopen(f"http://{self.admin_address}/metrics") as reply:
            text = reply.read().decode()
        lines = re.findall(r"^rpc_server_call_duration_seconds_count\{(.*)\} (\d+)", text, re.M)
        return sum(int(n) for labels, n in lines if f'/{method}"' in labels and '"OK"' in labels)

    def drain(self):
        """Says that it is to stop."""
        self.process.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def serving(program, folder, **settings):
    """Runs the program until the block ends; gives the server."""
    number = len(list(pathlib.Path(folder).glob("recsys-*.log")))
    log = pathlib.Path(folder, f"recsys-{number}.log")
    with log.open("w") as told:
        process = subprocess.Popen(
            [program, "serve", "--listen-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"],
            env={"RECSYS_LOG_FORMAT": "text"}
            | {name: str(value) for name, value in settings.items()},
            stderr=told,
            stdout=subprocess.DEVNULL,
        )
    try:
        yield Server(process, log)
    finally:
        process.kill()
        process.wait()


class Redis:
    """A redis-server that can be stopped, and started again on the same port."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--dir", str(self.folder)],
            stdout=subprocess.DEVNULL,
        )
        eventually("redis-server listens", self._listens)

    def _listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def redis(program, folder):
    """Runs a redis-server until the block ends."""
    server = Redis(program, folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
