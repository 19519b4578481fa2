"""Runs the commands of a page, and compares their output with what the page shows.

Usage: walkthrough.py [--all] PAGE PROGRAM [FOLDER]
PROGRAM stands for `recsys`, ./target/release/recsys and `cargo run --release --`. Commands run in FOLDER, by default
a new one with links to the repository's folders and the files that pages import.

Every ```sh block runs, one after the other, in one bash. A ```text, ```json or ```toml
block after it is its output: a line "..." matches any lines, "…" any text within a
line; white space is not compared. A command that runs `recsys serve` or `recsys
quickstart` is started, and runs until the next one. Servers listen on free ports, which
replace those of the page. A page that names Redis's port has a Redis.

Comments before a block:
    <!-- exits 67 -->          its exit code, if not 0
    <!-- not run: WHY -->      it is left out
    <!-- nightly -->           it runs only with --all
"""

import contextlib
import os
import pathlib
import re
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TIMEOUT_S = 120
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
CARGO_RUN = "cargo run --release -- "
SERVE = re.compile(r"(\S*\brecsys (?:serve|quickstart))\b(?! --exit)")
API, REDIS = "50051", "6379"
PORTS = (API, "9090", "8080", "50080", REDIS)


class Step:
    """A block of commands with its expected output and exit code."""

    def __init__(self, line, commands, comment):
        self.line, self.commands = line, commands.replace(CARGO_RUN, "recsys ")
        self.exits, self.skip_reason, self.output = 0, None, None
        self.nightly = False
        if comment is None:
            return
        if exits := re.fullmatch(r"exits (\d+)", comment):
            self.exits = int(exits[1])
        elif why := re.fullmatch(r"not run: (.+)", comment):
            self.skip_reason = why[1]
        elif comment == "nightly":
            self.nightly = True
        else:
            sys.exit(f"line {line}: unknown comment '{comment}'")


def commands_of(block):
    """The commands of a block, with those that continue on the next line in one."""
    commands, whole = [], []
    for line in block:
        whole.append(line)
        if not line.endswith("\\"):
            commands.append("\n".join(whole))
            whole = []
    return commands + (["\n".join(whole)] if whole else [])


def split(block):
    """The parts of a block: each server has a part of its own."""
    parts = []
    for command in commands_of(block):
        serves = bool(SERVE.search(command.split(" #")[0]))
        if serves or not parts or SERVE.search(parts[-1]):
            parts.append(command)
        else:
            parts[-1] += "\n" + command
    return [part for part in parts if part.strip()]


def parse(page):
    """The steps of a page."""
    steps, comment = [], None
    lines = iter(enumerate(page.splitlines(), 1))
    for number, line in lines:
        fence = re.match(r"( *)```(\w*)", line)
        if match := re.fullmatch(r" *<!-- (.*) -->", line):
            comment = match[1]
        elif fence:
            block = []
            for _, inside in lines:
                if inside.strip() == "```":
                    break
                block.append(inside.removeprefix(fence[1]))
            if fence[2] == "sh":
                steps.extend(Step(number, part, comment) for part in split(block))
            elif fence[2] in ("text", "json", "toml") and steps and steps[-1].output is None:
                steps[-1].output = block
            comment = None
        elif line.startswith("#") and steps and steps[-1].output is None:
            # A block under another heading is not the output of this step.
            steps[-1].output = []
    return steps


def pattern(output):
    """A regular expression of an expected output, with its white space normalized."""
    parts = []
    for line in output:
        line = " ".join(line.split())
        if line == "...":
            parts.append(r"(?:.*\n)*?")
        elif line:
            parts.append(r".*".join(re.escape(text) for text in line.split("…")) + r"\n")
    return "".join(parts)


def normalized(output):
    lines = (" ".join(line.split()) for line in output.splitlines())
    return "".join(f"{line}\n" for line in lines if line)


class Session:
    """A bash, and at most one server."""

    def __init__(self, folder):
        self.folder = folder
        environment = {
            name: value for name, value in os.environ.items()
            if not name.startswith(("RECSYS_", "REDIS_", "QDRANT_"))
        }
        self.ports = free_ports()
        # The log as on a terminal; the address of commands that name none; curl without a
        # progress bar, by the file that it reads.
        environment |= {
            "RECSYS_LOG_FORMAT": "text",
            "RECSYS_LISTEN_ADDR": f"127.0.0.1:{self.ports[API]}",
            "RECSYS_ADDRESSES": f"127.0.0.1:{self.ports[API]}",
            "PATH": f"{folder / '.bin'}:{os.environ['PATH']}",
            "CURL_HOME": str(folder),
        }
        self.bash = subprocess.Popen(
            ["bash", "-E", "-o", "pipefail"], cwd=folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        self.number = 0
        self.server = None
        self.redis = None

    def send(self, command):
        print(command, file=self.bash.stdin, flush=True)

    def write(self, commands):
        """Writes commands, with their real ports, to a file; returns it and one for
        their output."""
        self.number += 1
        for port, real in self.ports.items():
            commands = re.sub(rf"(?<=:){port}\b", real, commands)
        if "redis-cli" in commands or f":{self.ports[REDIS]}" in commands:
            self.start_redis()
        path = self.folder / f".step-{self.number}"
        path.write_text(commands + "\n")
        return path, self.folder / f".output-{self.number}"

    def run(self, step):
        """Returns the exit code of the first command that failed, and the output."""
        path, output = self.write(step.commands)
        self.send(f"code=; trap 'code=${{code:-$?}}' ERR; . {path} >{output} 2>&1 </dev/null; "
                  f"trap - ERR; echo ${{code:-0}}")
        code = self.bash.stdout.readline().strip()
        text = output.read_text()
        for port, real in self.ports.items():
            text = re.sub(rf"(?<=:){real}\b", port, text)
        return int(code or -1), text

    def serve(self, step):
        self.stop()
        command = step.commands.split(" #")[0].rstrip().removesuffix("&")
        path, log = self.write(SERVE.sub(r"exec \1", command))
        self.send(f"(. {path}) >{log} 2>&1 </dev/null & echo $!")
        self.server = int(self.bash.stdout.readline())
        if "quickstart" in command:
            self.wait_for(r"(Serving on)", log)
            return
        self.wait_for(r"(serving gRPC)", log)
        for dependency in ("user state", "catalogue"):
            self.wait_for(f'(dependency answers) dependency="{dependency}"', log)

    def wait_for(self, logged, log):
        deadline = time.monotonic() + TIMEOUT_S
        text = ""
        while time.monotonic() < deadline:
            text = log.read_text() if log.exists() else ""
            if match := re.search(logged, text):
                return match[1]
            time.sleep(0.05)
        sys.exit(f"the server does not start: {text}")

    def stop(self):
        if self.server is None:
            return
        self.send(f"kill -INT {self.server}; wait {self.server}; echo ended")
        self.bash.stdout.readline()
        self.server = None

    def close(self):
        self.stop()
        self.bash.stdin.close()
        self.bash.wait()
        if self.redis:
            self.redis.terminate()
            self.redis.wait()

    def start_redis(self):
        """Starts a Redis, once; `redis-cli` then means it."""
        if self.redis:
            return
        server = os.environ.get("REDIS_SERVER", "redis-server")
        port = self.ports[REDIS]
        self.redis = subprocess.Popen(
            [server, "--port", port, "--save", "", "--appendonly", "yes", "--maxmemory-policy",
             "noeviction", "--dir", tempfile.mkdtemp(dir=self.folder)],
            stdout=subprocess.DEVNULL,
        )
        client = self.folder / ".bin/redis-cli"
        client.write_text(f'#!/bin/sh\nexec {shutil.which("redis-cli")} -p {port} "$@"\n')
        client.chmod(0o755)
        deadline = time.monotonic() + TIMEOUT_S
        while subprocess.run([client, "PING"], capture_output=True, check=False).returncode:
            if time.monotonic() > deadline:
                sys.exit("Redis does not start")
            time.sleep(0.05)


def free_ports():
    """A free port for each port of the pages, outside of the range of outgoing connections."""
    ports = {}
    while len(ports) < len(PORTS):
        port = random.randrange(20000, 30000)
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            ports[PORTS[len(ports)]] = str(port)
    return ports


def run(page, folder, every):
    """Runs all steps; returns how many, and exits at the first difference."""
    count = 0
    with contextlib.closing(Session(folder)) as session:
        for step in parse(page.read_text()):
            where = f"{page.name}:{step.line} {step.commands.strip().splitlines()[0]}"
            if step.skip_reason:
                print(f"skipped   {where} ({step.skip_reason})")
                continue
            if step.nightly and not every:
                print(f"skipped   {where} (nightly)")
                continue
            count += 1
            if SERVE.search(step.commands.split(" #")[0]):
                session.serve(step)
                print(f"serving   {where}")
                continue
            code, output = session.run(step)
            if code != step.exits:
                sys.exit(f"{where}\nexits with {code}, not {step.exits}:\n{output}")
            if step.output and not re.fullmatch(pattern(step.output), normalized(output)):
                sys.exit(f"{where}\nprints:\n{output}\nnot:\n" + "\n".join(step.output))
            print(f"{'as shown' if step.output else 'done    '}  {where}")
    return count


def recent(table):
    """A table of events, moved by whole days so that the last one is of today or yesterday."""
    header, *rows = table.splitlines()
    rows = [row.rpartition(",") for row in rows]
    last = max(int(at) for _, _, at in rows)
    days = int(time.time() - last) // 86400
    moved = (f"{row},{int(at) + days * 86400}" for row, _, at in rows)
    return "\n".join([header, *moved]) + "\n"


def new_folder(program):
    """A folder with links to the repository's folders, the program, and files to import."""
    folder = pathlib.Path(tempfile.mkdtemp())
    for file in REPOSITORY.glob("tests/fixtures/bring/*/*"):
        text = file.read_text()
        (folder / file.name).write_text(recent(text) if file.name == "clicks.csv" else text)
    for name in ("assets", "docs", "examples", "proto", "scripts"):
        (folder / name).symlink_to(REPOSITORY / name)
    # A copy: packages are built in it.
    shutil.copytree(REPOSITORY / "clients", folder / "clients",
                    ignore=shutil.ignore_patterns("build", "target", "node_modules", ".venv", "*.egg-info"))
    (folder / "target/release").mkdir(parents=True)
    (folder / "target/release/recsys").symlink_to(program)
    return folder


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--all"]
    every = "--all" in sys.argv
    page = pathlib.Path(arguments[0])
    program = pathlib.Path(arguments[1]).resolve()
    given = pathlib.Path(arguments[2]).resolve() if len(arguments) > 2 else None
    folder = given or new_folder(program)
    (folder / ".bin").mkdir(exist_ok=True)
    if not (folder / ".bin/recsys").exists():
        (folder / ".bin/recsys").symlink_to(program)
    (folder / ".curlrc").write_text("silent\nshow-error\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        count = run(page, folder, every)
    finally:
        if given is None:
            shutil.rmtree(folder)
    print(f"{page}: {count} steps are as shown")


if __name__ == "__main__":
    main()
