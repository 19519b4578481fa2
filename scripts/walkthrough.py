"""Runs the commands of a page, and compares their output with what the page shows.

Usage: walkthrough.py PAGE PROGRAM [FOLDER]
PROGRAM stands for ./target/release/recsys. Commands run in FOLDER, by default a new
one with links to the repository's folders.

Every ```sh block runs, one after the other, in one bash. A ```text, ```json or ```toml
block after it is its output: a line "..." matches any lines, "…" any text within a
line; white space is not compared. A block that runs `recsys serve` is started, and
runs until the next such block. Servers listen on free ports: 50051 and 9090 in later
commands are replaced by those.

Comments before a block:
    <!-- exits 67 -->          its exit code, if not 0
    <!-- not run: WHY -->      it is left out
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TIMEOUT_S = 120
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SERVE = re.compile(r"recsys serve\b")
API, ADMIN = "50051", "9090"


class Step:
    """A block of commands with its expected output and exit code."""

    def __init__(self, line, commands, comment):
        self.line, self.commands = line, commands
        self.exits, self.skip_reason, self.output = 0, None, None
        if comment is None:
            return
        if exits := re.fullmatch(r"exits (\d+)", comment):
            self.exits = int(exits[1])
        elif why := re.fullmatch(r"not run: (.+)", comment):
            self.skip_reason = why[1]
        else:
            sys.exit(f"line {line}: unknown comment '{comment}'")


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
                steps.append(Step(number, "\n".join(block), comment))
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
        # The log as on a terminal; a free port for commands that name no address.
        environment |= {"RECSYS_LOG_FORMAT": "text", "RECSYS_LISTEN_ADDR": "127.0.0.1:0"}
        self.bash = subprocess.Popen(
            ["bash", "-E", "-o", "pipefail"], cwd=folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        self.ports = {API: "0", ADMIN: "0"}
        self.number = 0
        self.server = None

    def send(self, command):
        print(command, file=self.bash.stdin, flush=True)

    def write(self, commands):
        """Writes commands, with their real ports, to a file; returns it and one for
        their output."""
        self.number += 1
        for port, real in self.ports.items():
            commands = re.sub(rf"(?<=:){port}\b", real, commands)
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
            if real != "0":
                text = re.sub(rf"(?<=:){real}\b", port, text)
        return int(code or -1), text

    def serve(self, step):
        self.stop()
        self.ports = {API: "0", ADMIN: "0"}
        path, log = self.write(re.sub(r"(\S+ serve\b)", r"exec \1", step.commands))
        self.send(f"(. {path}) >{log} 2>&1 </dev/null & echo $!")
        self.server = int(self.bash.stdout.readline())
        self.ports[API] = self.wait_for(r"serving gRPC.* address=\S*:(\d+)", log)
        if f":{ADMIN}" in step.commands:
            self.ports[ADMIN] = self.wait_for(r"serving metrics and health.* address=\S*:(\d+)", log)
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


def run(page, folder):
    """Runs all steps; returns how many, and exits at the first difference."""
    count = 0
    with contextlib.closing(Session(folder)) as session:
        for step in parse(page.read_text()):
            where = f"{page.name}:{step.line} {step.commands.strip().splitlines()[0]}"
            if step.skip_reason:
                print(f"skipped   {where} ({step.skip_reason})")
                continue
            count += 1
            if SERVE.search(step.commands):
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


def new_folder(program):
    """A folder with links to the repository's folders and to the program."""
    folder = pathlib.Path(tempfile.mkdtemp())
    for name in ("assets", "docs", "examples", "proto", "scripts"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "target/release").mkdir(parents=True)
    (folder / "target/release/recsys").symlink_to(program)
    return folder


def main():
    page = pathlib.Path(sys.argv[1])
    program = pathlib.Path(sys.argv[2]).resolve()
    given = pathlib.Path(sys.argv[3]).resolve() if len(sys.argv) > 3 else None
    folder = given or new_folder(program)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        count = run(page, folder)
    finally:
        if given is None:
            shutil.rmtree(folder)
    if not count:
        sys.exit(f"{page} has no commands")
    print(f"{page}: {count} steps are as shown")


if __name__ == "__main__":
    main()
