"""Does what a page says, as its reader would, and checks that what it shows is so.

Usage: walkthrough.py PAGE PROGRAM [FOLDER]
PROGRAM takes the place of ./target/release/recsys. Commands run in FOLDER, by
default in a new one with links to what the repository has.

Every ```sh block is run, one after the other in one bash. A ```text, ```json or
```toml block after it is what it prints: a line "..." stands for any lines, "…" for
any text within a line, and how much white space there is does not matter. A block
whose command is `recsys serve` is started and left running until the next such block
stands in its place. Servers listen on free ports: 50051 and 9090 in later commands
become those.

Comments before a block say more:
    <!-- exits 67 -->          what it exits with, if not 0
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

PATIENCE_S = 120
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SERVE = re.compile(r"recsys serve\b")
API, ADMIN = "50051", "9090"


class Step:
    """A block of commands with what is said of it."""

    def __init__(self, line, commands):
        self.line, self.commands = line, commands
        self.exits, self.not_run, self.shown = 0, None, None


def steps(page):
    """The steps of a page."""
    found, comment = [], None
    lines = iter(enumerate(page.splitlines(), 1))
    for number, line in lines:
        fence = re.match(r"( *)```(\w*)", line)
        if said := re.fullmatch(r" *<!-- (.*) -->", line):
            comment = said[1]
        elif fence:
            block = []
            for _, inside in lines:
                if inside.strip() == "```":
                    break
                block.append(inside.removeprefix(fence[1]))
            if fence[2] == "sh":
                found.append(with_comment(Step(number, "\n".join(block)), comment))
            elif fence[2] in ("text", "json", "toml") and found and found[-1].shown is None:
                found[-1].shown = block
            comment = None
        elif line.startswith("#") and found and found[-1].shown is None:
            # What is shown under another heading is not of this step.
            found[-1].shown = []
    return found


def with_comment(step, comment):
    if comment is None:
        return step
    if exits := re.fullmatch(r"exits (\d+)", comment):
        step.exits = int(exits[1])
    elif why := re.fullmatch(r"not run: (.+)", comment):
        step.not_run = why[1]
    else:
        sys.exit(f"line {step.line}: what does '{comment}' say?")
    return step


def pattern(shown):
    """What an output must be, with its white space evened out."""
    parts = []
    for line in shown:
        line = " ".join(line.split())
        if line == "...":
            parts.append(r"(?:.*\n)*?")
        elif line:
            parts.append(r".*".join(re.escape(text) for text in line.split("…")) + r"\n")
    return "".join(parts)


def even(output):
    lines = (" ".join(line.split()) for line in output.splitlines())
    return "".join(f"{line}\n" for line in lines if line)


class Reader:
    """Who does it: a bash, and a server."""

    def __init__(self, folder):
        self.folder = folder
        # The reader has set nothing yet.
        environment = {
            name: value for name, value in os.environ.items()
            if not name.startswith(("RECSYS_", "REDIS_", "QDRANT_"))
        }
        # The log as a reader sees it, who has a terminal.
        environment["RECSYS_LOG_FORMAT"] = "text"
        self.bash = subprocess.Popen(
            ["bash", "-E", "-o", "pipefail"], cwd=folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        self.ports = {API: "0", ADMIN: "0"}
        self.number = 0
        self.server = None
        # Whoever gives no address gets a free port, too.
        self.say("export RECSYS_LISTEN_ADDR=127.0.0.1:0")

    def say(self, command):
        print(command, file=self.bash.stdin, flush=True)

    def put(self, commands):
        """Writes commands, with ports as they are, to a file."""
        self.number += 1
        for port, real in self.ports.items():
            commands = re.sub(rf"(?<=:){port}\b", real, commands)
        path = self.folder / f".step-{self.number}"
        path.write_text(commands + "\n")
        return path, self.folder / f".told-{self.number}"

    def run(self, step):
        """Gives the exit code (of the first command that failed) and the output."""
        path, told = self.put(step.commands)
        self.say(f"code=; trap 'code=${{code:-$?}}' ERR; . {path} >{told} 2>&1 </dev/null; "
                 f"trap - ERR; echo ${{code:-0}}")
        code = self.bash.stdout.readline().strip()
        return int(code or -1), told.read_text()

    def serve(self, step):
        self.stop()
        self.ports = {API: "0", ADMIN: "0"}
        path, told = self.put(re.sub(r"(\S+ serve\b)", r"exec \1", step.commands))
        self.say(f"(. {path}) >{told} 2>&1 </dev/null & echo $!")
        self.server = int(self.bash.stdout.readline())
        self.ports[API] = self.wait_for(r"serving gRPC.* address=\S*:(\d+)", told)
        if f":{ADMIN}" in step.commands:
            said = r"serving metrics and health.* address=\S*:(\d+)"
            self.ports[ADMIN] = self.wait_for(said, told)
        # A reader is not so quick that it would not be ready.
        for dependency in ("user state", "catalogue"):
            self.wait_for(f'(dependency answers) dependency="{dependency}"', told)

    def wait_for(self, said, told):
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            text = told.read_text() if told.exists() else ""
            if at := re.search(said, text):
                return at[1]
            time.sleep(0.05)
        sys.exit(f"no server: {text}")

    def stop(self):
        if self.server is None:
            return
        self.say(f"kill -INT {self.server}; wait {self.server}; echo ended")
        self.bash.stdout.readline()
        self.server = None

    def close(self):
        self.stop()
        self.bash.stdin.close()
        self.bash.wait()


def play(page, folder):
    """Does all steps; gives how many there were, and exits at the first that differs."""
    text = page.read_text()
    reader = Reader(folder)
    done = 0
    with contextlib.closing(reader):
        for step in steps(text):
            first = step.commands.strip().splitlines()[0]
            where = f"{page.name}:{step.line}"
            if step.not_run:
                print(f"left out  {where} {first} ({step.not_run})")
                continue
            if SERVE.search(step.commands):
                reader.serve(step)
                print(f"serving   {where} {first}")
                done += 1
                continue
            code, told = reader.run(step)
            expected = pattern(step.shown) if step.shown else None
            for port, real in reader.ports.items():
                told = re.sub(rf"(?<=:){real}\b", port, told) if real != "0" else told
            if code != step.exits:
                sys.exit(f"{where} {first}\nexits with {code}, not {step.exits}:\n{told}")
            if expected and not re.fullmatch(expected, even(told)):
                sys.exit(f"{where} {first}\nprints:\n{told}\nnot:\n" + "\n".join(step.shown))
            print(f"{'as shown' if expected else 'done    '}  {where} {first}")
            done += 1
    return done


def new_folder(program):
    """What a reader has before them: the repository, with the program built."""
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
        done = play(page, folder)
    finally:
        if given is None:
            shutil.rmtree(folder)
    if not done:
        sys.exit(f"{page} has no commands")
    print(f"{page}: {done} steps are as it says")


if __name__ == "__main__":
    main()
