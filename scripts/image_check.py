"""Does what the Dockerfile says, without a container engine. A part of
scripts/image.sh, which says what it does.

Usage: image_check.py FOLDER TARGET [--full]
FOLDER is empty, TARGET is cargo's folder of builds.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib

work, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
FULL = "--full" in sys.argv[3:]
BUILD = "cargo build --release --locked --bin recsys"
BASE = "gcr.io/distroless/cc-debian12:nonroot"
PROGRAM = "/usr/local/bin/recsys"
USER = 65532
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
# What the base image's libraries are: glibc and the compiler's own.
LIBRARIES = re.compile(r"(ld-linux[\w-]*|libc|libm|libgcc_s|libdl|libpthread|librt)\.so\.\d+")
LABELS = {"title", "description", "licenses", "version", "revision", "base.name"}
# Longest that something may take that needs no time: only to end what hangs.
PATIENCE_S = 120


def check(holds, what):
    if not holds:
        sys.exit(f"scripts/image_check.py: expected {what}")


def instructions(text):
    """The Dockerfile's instructions: a list of (name, arguments) for each stage."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    stages = []
    for line in joined.splitlines():
        if not line.strip():
            continue
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, " ".join(rest.split())))
    return stages


def only(stage, name):
    found = [rest for instruction, rest in stage if instruction == name]
    check(len(found) == 1, f"one {name}, but there are {len(found)}")
    return found[0]


def the_text_is_as_it_should_be(build, image):
    cargo = tomllib.loads(pathlib.Path("Cargo.toml").read_text())["package"]
    version = re.fullmatch(r"rust:(\d+\.\d+)\.\d+-slim-bookworm AS build", only(build, "FROM"))
    check(version, "a toolchain that is pinned to a release")
    check(version[1] == cargo["rust-version"], f"Rust {cargo['rust-version']}, as Cargo.toml says")
    check(only(image, "FROM") == BASE, f"the small image {BASE}")
    check(not any(name in ("RUN", "ADD") for name, _ in image), "nothing but copies in the image")
    check(only(image, "COPY") == f"--from=build /build/target/release/recsys {PROGRAM}", "the program alone")
    check(only(image, "USER") == f"{USER}:{USER}", f"the user {USER}, by number")
    check(json.loads(only(image, "ENTRYPOINT")) == [PROGRAM], "the program as entry point")
    check(json.loads(only(image, "CMD")) == ["serve"], "serve as the default command")
    _, command = only(image, "HEALTHCHECK").split(" CMD ")
    check(json.loads(command) == [PROGRAM, "healthcheck"], "health by the program itself")
    labels = set(re.findall(r"org\.opencontainers\.image\.([\w.]+)=", only(image, "LABEL")))
    check(labels == LABELS, f"the labels {sorted(LABELS)}, but there are {sorted(labels)}")
    ports = {address.rpartition(":")[2] for address in environment(image).values()}
    check(set(only(image, "EXPOSE").split()) == ports, f"the ports {sorted(ports)} exposed")

    copied = {
        source
        for name, rest in build
        if name == "COPY"
        for source in rest.split()[:-1]
    }
    lines = pathlib.Path(".dockerignore").read_text().split("\n")
    let_in = {line[1:] for line in lines if line.startswith("!")}
    check("*" in lines and copied == let_in, f".dockerignore to let in {sorted(copied)}, and no more")
    runs = [rest for name, rest in build if name == "RUN"]
    check(len(runs) == 2 and all(run.endswith(BUILD) for run in runs), f"two layers with {BUILD}")


def environment(image):
    return dict(pair.split("=", 1) for pair in only(image, "ENV").split())


def tracked(source):
    """The files below a path that git knows: nothing else is in a fresh clone."""
    listed = subprocess.run(["git", "ls-files", "-z", "--", source], check=True, capture_output=True)
    return [pathlib.Path(name) for name in listed.stdout.decode().split("\0") if name]


def layers_build(build):
    """Follows COPY and RUN of the first layer, or of both, in a folder of its own; what
    is built of the dependencies is taken from where cargo has it."""
    folder, there = work / "build", work / "target" / "release"
    folder.mkdir()
    there.mkdir(parents=True)
    for part in ("deps", "build", ".fingerprint"):
        subprocess.run(["cp", "-a", target / "release" / part, there], check=True)
    layers = 0
    for name, rest in build:
        if name == "COPY":
            *sources, to = rest.split()
            for source in sources:
                for path in tracked(source):
                    below = path.relative_to(source) if pathlib.Path(source).is_dir() else path.name
                    copy = folder / to / below
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    # With their times, as COPY keeps them.
                    shutil.copy2(path, copy)
        if name == "RUN":
            subprocess.run(
                ["sh", "-ec", rest],
                cwd=folder,
                env=os.environ | {"CARGO_TARGET_DIR": str(work / "target")},
                check=True,
            )
            layers += 1
            if not FULL:
                break
    built = there / "recsys"
    check(built.is_file(), "a program to be built")
    if layers == 2:
        told = subprocess.run([built, "--version"], check=True, capture_output=True, text=True)
        check(told.stdout.startswith("recsys "), "the program itself, not the stub of the first layer")
        return built
    return None


def empty_root(program):
    """A root with what the image copies, and what of its base the program needs."""
    root = work / "root"
    for folder in ("usr/local/bin", "tmp", "etc/ssl/certs", "home/nonroot"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy2(program, root / PROGRAM[1:])
    (root / "etc/passwd").write_text(f"nonroot:x:{USER}:{USER}:nonroot:/home/nonroot:/sbin/nologin\n")
    linked = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for path in re.findall(r"(/\S+) \(0x", linked):
        library = pathlib.Path(path)
        check(LIBRARIES.fullmatch(library.name), f"no library that the base image lacks: {library.name}")
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library.resolve(), root / path[1:])
    shutil.copy2("/" + BUNDLE, root / BUNDLE)
    return root


def confined(root, *arguments):
    """The command line of the program in that root, as the image's user."""
    if os.geteuid() == 0:
        return [shutil.which("chroot"), f"--userspec={USER}:{USER}", root, PROGRAM, *arguments]
    # Only root may be another user.
    return [shutil.which("unshare"), "--map-root-user", shutil.which("chroot"), root, PROGRAM, *arguments]


def run(root, env, *arguments):
    return subprocess.run(
        confined(root, *arguments), env=env, capture_output=True, text=True, timeout=PATIENCE_S
    )


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def serving(root, env):
    log = work / "log"
    with log.open("w") as file:
        process = subprocess.Popen(confined(root, "serve"), env=env, stderr=file)
    try:
        yield log
    finally:
        process.terminate()
        check(process.wait(PATIENCE_S) == 0, f"an end with code 0:\n{log.read_text()}")


def becomes(what, holds):
    until = time.monotonic() + PATIENCE_S
    while not holds():
        check(time.monotonic() < until, what)
        time.sleep(0.1)


def is_healthy(root, env, service="readiness"):
    asked = run(root, env, "healthcheck", "--service", service)
    return asked.returncode == 0 and asked.stdout == "SERVING\n"


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], cwd=work, check=True, capture_output=True)


@contextlib.contextmanager
def redis_with_tls():
    """A Redis that an authority of its own vouches for."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *curve, "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-new", *curve, "-subj", "/CN=redis", "-keyout", "redis.key", "-out", "redis.csr")
    (work / "redis.ext").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "redis.csr", "-days", "2", "-extfile", "redis.ext", "-CA", "ca.pem",
            "-CAkey", "ca.key", "-CAcreateserial", "-out", "redis.pem")
    port = free_port()
    server = subprocess.Popen(
        [os.environ["REDIS_SERVER"], "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1",
         "--tls-cert-file", "redis.pem", "--tls-key-file", "redis.key", "--tls-ca-cert-file", "ca.pem",
         "--tls-auth-clients", "no", "--save", "", "--appendonly", "yes"],
        cwd=work,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield f"rediss://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def the_program_runs(root, image):
    # The base image says where the bundle is.
    env = environment(image) | {"SSL_CERT_FILE": f"/{BUNDLE}"}
    version = run(root, env, "--version")
    check(version.returncode == 0 and version.stdout.startswith("recsys "), f"a version: {version}")

    refused = run(root, env, "serve")
    check(
        refused.returncode == 2 and "RECSYS_TENANTS_PATH" in refused.stderr,
        f"no service before it is told who may call: {refused}",
    )

    # What the image sets is for a network of its own; this machine's has others on it.
    env |= {
        "RECSYS_LISTEN_ADDR": f"127.0.0.1:{free_port()}",
        "RECSYS_ADMIN_ADDR": f"127.0.0.1:{free_port()}",
    }
    with serving(root, env):
        becomes("health in the empty root", lambda: is_healthy(root, env))
    check(not is_healthy(root, env), "no health without a server")

    with redis_with_tls() as url:
        env["REDIS_URL"] = url
        with serving(root, env) as log:
            becomes("a Redis to be turned down", lambda: "UnknownIssuer" in log.read_text())
            check(is_healthy(root, env, "liveness"), "life all the same")
            check(not is_healthy(root, env), "no readiness without its Redis")
        with (root / BUNDLE).open("a") as bundle:
            bundle.write((work / "ca.pem").read_text())
        with serving(root, env):
            becomes("TLS to Redis by the image's bundle", lambda: is_healthy(root, env))


def main():
    stages = instructions(pathlib.Path("Dockerfile").read_text())
    check(len(stages) == 2, "two stages")
    build, image = stages
    the_text_is_as_it_should_be(build, image)
    print("the Dockerfile's text is as it should be")
    # Here first: what is built of the dependencies is then there for the layers.
    subprocess.run(BUILD.split(), check=True)
    program = layers_build(build) or target / "release" / "recsys"
    print(f"its {'layers build' if FULL else 'layer of dependencies builds'}, with what is copied alone")
    the_program_runs(empty_root(program), image)
    print("in an empty root the program tells its version and health, and speaks TLS")


if __name__ == "__main__":
    main()
