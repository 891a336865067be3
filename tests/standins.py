"""Programs that stand in for those of a document's commands, where a test can not run the real ones.

    python -m tests.standins NAME WORDS...

What renders is real, with two sampling steps. What installs or serves is looked at: `make` is asked what it would do,
a studio is started, asked for its page and stopped, systemd's and Docker's words are held against the files of the
project. A word that makes no sense ends with a sentence and status 1. The environment says where things are:
DIORAMA_TOP is the repository, DIORAMA_ROOT stands in for `/`, DIORAMA_ASKED is a studio that answers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

STEPS, CAPTIONED = 2, 1
BRIEF_LOOP = {"steps": 1, "batch": 2, "workers": 0, "report_every": 0}
OUTSIDE = ("/etc/", "/opt/", "/var/")
PATIENCE = 120.0


class Wrong(Exception):
    """A command that would not do what the document says."""


def top() -> Path:
    """The repository."""
    return Path(os.environ["DIORAMA_TOP"])


def root(path: str) -> Path:
    """Where a path of the machine's own is in the test."""
    return Path(os.environ["DIORAMA_ROOT"]) / path.lstrip("/") if path.startswith(OUTSIDE) else Path(path)


def real(*words: str) -> int:
    """Run words with the Python of the test, beside the project's modules."""
    return subprocess.run(
        [sys.executable, *words], env={**os.environ, "PYTHONPATH": str(top())}, check=False
    ).returncode


# ------------------------------------------------------------ ours


def diorama(words: list[str]) -> int:
    """The command line, with job files that take two steps, run files that take one, and one picture to caption.

    Nothing is compiled: for a step or two that takes a minute each time.
    """
    for word in words[1:]:
        path = Path(word)
        if path.suffix == ".yaml" and path.is_file():
            documents = [_brief(value) for value in yaml.safe_load_all(path.read_text())]
            if words[0] == "train" and "data" in documents[0]:
                documents[0]["loop"] |= {"steps": 1, "compile": False}
                documents[0]["samples"] = documents[0].get("samples", {}) | {"steps": STEPS}
            if words[0] == "ablate":
                path.write_text(yaml.safe_dump(_small_ablation(documents[0]), sort_keys=False))
            elif words[0] == "train" and "autoencoder" in documents[0]:
                words = [*words[: words.index(word)], _small_run(documents[0]), *words[words.index(word) + 1 :]]
            else:
                path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    if words[0] == "caption":
        for picture in sorted(Path(words[1]).glob("*.png"))[CAPTIONED:]:  # each of them takes its time
            picture.with_suffix(".txt").write_text("a pim\n")
    if words[0] == "studio":
        return serve(words[1:])
    return real("-m", "pipelines.cli", *words)


def _small_ablation(ablation: dict[str, Any]) -> dict[str, Any]:
    """One seed of the first two variants, a few steps each."""
    transformer = ablation["change"]["transformer"] | {"heads": 1, "pool": 8}
    transformer["loop"] |= BRIEF_LOOP | {"steps": 4}
    variants = dict(list(ablation["variants"].items())[:2])
    change = ablation["change"] | {"transformer": transformer}
    return ablation | {"seeds": [1], "pictures": 2, "change": change, "variants": variants}


def _brief(value: Any) -> Any:
    if isinstance(value, Mapping):
        brief = {key: _brief(inner) for key, inner in value.items()}
        return brief | {"steps": STEPS} if "task" in value else brief
    return [_brief(inner) for inner in value] if isinstance(value, list) else value


def _small_run(run: dict[str, Any]) -> str:
    """A run file of one step a stage, whose checkpoint goes nowhere near the project's own."""
    transformer = {
        "double_blocks": 1,
        "single_blocks": 1,
        "heads": 1,
        "auxiliary_block": 1,
        "compile": False,
        "pool": 0,
    }
    run |= {"folder": "run", "checkpoint": "made"}
    run["autoencoder"]["loop"] |= BRIEF_LOOP
    run["transformer"] |= transformer
    run["transformer"]["loop"] |= BRIEF_LOOP
    Path("small.yaml").write_text(yaml.safe_dump(run))
    return "small.yaml"


def python(words: list[str]) -> int:
    """Python, with few cases to score and benchmarks that only say what they are."""
    if words[0].endswith("app.py"):
        return serve(words[1:])
    if words[:2] == ["-m", "training.evaluate"]:
        at = words.index("--count")
        words = [*words[: at + 1], "1", "--steps", str(STEPS), *words[at + 2 :]]
    elif words[0].endswith("mascot_score.py"):
        words = [*words, "--count", "1", "--old", "1", "--steps", str(STEPS)]
    elif words[0] == "-m" and words[1].startswith("benchmarks."):
        words = [*words[:2], "--help"]
    return real(*words)


def torchrun(words: list[str]) -> int:
    """Processes of a run."""
    return real("-m", "torch.distributed.run", *words)


def serve(words: list[str]) -> int:
    """Start the studio, ask it for its page, and stop it as a service is stopped."""
    with socket.create_server(("127.0.0.1", 0)) as trial:
        port = trial.getsockname()[1]
    command = [sys.executable, str(top() / "app.py"), *words, "--port", str(port)]
    studio = subprocess.Popen(command)
    try:
        end = time.monotonic() + PATIENCE
        while _status(f"http://127.0.0.1:{port}/") != 200:
            if studio.poll() is not None or time.monotonic() > end:
                raise Wrong("the studio did not answer")
            time.sleep(0.2)
        studio.send_signal(signal.SIGTERM)
        return studio.wait(PATIENCE)
    finally:
        studio.kill()


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # no address but 127.0.0.1 is ever asked
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def make(words: list[str]) -> int:
    """What make would do, done where that is not the installation or the tests themselves."""
    folder = root(words[words.index("-C") + 1]) if "-C" in words else Path()
    target = next(word for word in words if re.fullmatch(r"[a-z-]+", word))
    given = [word for word in words if "=" in word]
    asked = ["/usr/bin/env", "make", "-n", "-f", str(top() / "Makefile"), target, *given]
    plain = {**os.environ, "PATH": os.defpath}  # where make is make
    made = subprocess.run(asked, text=True, capture_output=True, check=False, cwd=folder, env=plain)
    if made.returncode:
        raise Wrong(made.stderr)
    lines = [line for line in made.stdout.splitlines() if line.startswith(".venv/bin/")]
    install = [line for line in lines if " -m pip install " in line]
    if len(install) != 1 or not all(word.partition("=")[2] in install[0] for word in given):
        raise Wrong(f"expected one installation with the options that were given, got {install}")
    if target in ("setup", "lint", "test"):  # what continuous integration runs itself
        if f"make {target}" not in (top() / ".ci" / "run").read_text().splitlines():
            raise Wrong(f"expected 'make {target}' in .ci/run")
        return 0
    return subprocess.run(
        ["bash", "-euc", "\n".join(line for line in lines if line not in install)], check=False
    ).returncode


# ------------------------------------------------------------ the machine's


def sudo(words: list[str]) -> int:
    """What follows, with the machine's own folders elsewhere."""
    moved = [str(root(word)) for word in words]
    if words[0] in STANDINS:
        return STANDINS[words[0]](words[1:])
    if words[0] == "/opt/diorama/.venv/bin/diorama":
        return diorama(moved[1:])
    for word in moved[1:]:
        if word.startswith(os.environ["DIORAMA_ROOT"]):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
    if words[0] == "cp" and words[-1].endswith("/"):
        Path(moved[-1]).mkdir(parents=True, exist_ok=True)
    return subprocess.run(moved, check=False).returncode


def git(words: list[str]) -> int:
    """`git clone . FOLDER`: the repository, not yet set up."""
    if words[:2] != ["clone", "."]:
        raise Wrong(f"expected a clone of this folder, got {words}")
    place = root(words[2])
    place.mkdir(parents=True)
    for path in top().iterdir():
        if path.name not in (".venv", ".git", "out", "runs"):  # what a clone does not have
            (place / path.name).symlink_to(path)
    return 0


def systemctl(words: list[str]) -> int:
    """Whether the unit is there, and what it starts is something that the studio takes."""
    if words == ["daemon-reload"]:
        return 0
    if words[0] not in ("enable", "restart", "status"):
        raise Wrong(f"expected enable, restart or status, got {words}")
    return _unit(words[-1])


def journalctl(words: list[str]) -> int:
    """Whether the unit is there."""
    return _unit(words[words.index("-u") + 1])


def _unit(name: str) -> int:
    import app

    folder = root("/etc/systemd/system/")
    settings: list[tuple[str, str]] = []
    for file in [folder / f"{name}.service", *sorted((folder / f"{name}.service.d").glob("*.conf"))]:
        lines = [line for line in file.read_text().splitlines() if "=" in line and not line.startswith("#")]
        settings += [(key, value) for key, _, value in (line.partition("=") for line in lines)]
    command = [value for key, value in settings if key == "ExecStart"][-1]
    for key, value in settings:
        if key == "LoadCredential":
            credential, _, source = value.partition(":")
            if not root(source).read_text().strip():
                raise Wrong(f"expected a password in {source}")
            command = command.replace(f"%d/{credential}", str(root(source)))
    interpreter, program, *words = command.split()
    if interpreter != "/opt/diorama/.venv/bin/python" or not root(program).is_file():
        raise Wrong(f"expected the Python and the program in /opt/diorama, got {command}")
    app._password(app._parser().parse_args(words))  # refused where others could come in without one
    return 0


def docker(words: list[str]) -> int:
    """Whether Docker's words fit the Dockerfile and each other."""
    kept = Path(os.environ["DIORAMA_ROOT"]) / "docker.json"
    known: dict[str, str] = json.loads(kept.read_text()) if kept.is_file() else {}
    told = dict(
        re.findall(r"^(WORKDIR|EXPOSE|VOLUME)\s+(\S+)", (top() / "assets/service/Dockerfile").read_text(), re.M)
    )
    if words[0] == "build":
        if (top() / words[words.index("-f") + 1]).read_text().count("FROM ") != 1 or words[-1] != ".":
            raise Wrong("expected a Dockerfile, and the top of the repository")
        known["image"] = words[words.index("-t") + 1]
    elif words[0] == "run":
        host, port, inner = words[words.index("-p") + 1].split(":")
        password = words[words.index("-e") + 1].partition("DIORAMA_PASSWORD=")[2]
        if (
            (host, inner) != ("127.0.0.1", told["EXPOSE"])
            or words[-1] != known["image"]
            or len(password) < 8
            or not port
        ):
            raise Wrong(f"expected this machine's address, the port, the image and a password, got {words}")
        if words[words.index("-v") + 1].partition(":")[2] != told["VOLUME"]:
            raise Wrong(f"expected the volume {told['VOLUME']}")
        known["container"] = words[words.index("--name") + 1]
    elif known["container"] not in words:
        raise Wrong(f"expected the container {known['container']}, got {words}")
    kept.write_text(json.dumps(known))
    return 0


def curl(words: list[str]) -> int:
    """Ask the studio of the test: for its status, or as a program does, with the options that documents use."""
    asked = os.environ["DIORAMA_ASKED"]
    if "%{http_code}\\n" in words:
        if words[-1] != "http://127.0.0.1:7860/":
            raise Wrong(f"expected the studio's address, got {words}")
        status = _status(asked)
        print(status)
        return 0 if status in (200, 401) else 1
    options = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
    options.add_argument("address")
    for name in ("--silent", "--fail", "--no-buffer"):
        options.add_argument(name, action="store_true", required=name == "--fail")
    options.add_argument("--request")
    options.add_argument("--header", action="append", default=[])
    options.add_argument("--data")
    options.add_argument("--data-binary")
    options.add_argument("--output", type=Path)
    given = options.parse_args(words)
    data = given.data.encode() if given.data else None
    if given.data_binary:
        data = Path(given.data_binary.removeprefix("@")).read_bytes()
    method = given.request or ("POST" if data is not None else "GET")
    address = given.address.replace("http://127.0.0.1:7860/", asked)
    headers = dict(line.split(": ", 1) for line in given.header)
    question = urllib.request.Request(address, data, headers, method=method)
    with urllib.request.urlopen(question, timeout=PATIENCE) as answer:  # fails where curl --fail does
        told = answer.read()
    if given.output:
        given.output.write_bytes(told)
    else:
        sys.stdout.buffer.write(told)
    return 0


def ray(words: list[str]) -> int:
    """Nodes of a cluster as processes of this machine: the first, or two others, or the end of all of them."""
    kept = Path(os.environ["DIORAMA_ROOT"]) / "ray"
    if words == ["stop"]:
        folder = kept.read_text()
        for process in Path("/proc").iterdir():
            if process.name.isdecimal() and folder.encode() in _said(process / "cmdline"):
                os.kill(int(process.name), signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        kept.unlink()
        return 0
    if words[0] != "start":
        raise Wrong(f"expected start or stop, got {words}")
    run = [sys.executable, "-m", "ray.scripts.scripts", *words, "--disable-usage-stats"]
    if "--head" in words:
        folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Ray's sockets need short names
        kept.write_text(folder)
        return subprocess.run([*run, "--include-dashboard", "false", "--temp-dir", folder], check=False).returncode
    return max(subprocess.run([*run, "--num-cpus", "1"], check=False).returncode for _ in range(2))


def _said(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended
        return b""


STANDINS: Mapping[str, Callable[[list[str]], int]] = {
    each.__name__: each
    for each in (diorama, python, torchrun, make, sudo, git, systemctl, journalctl, docker, curl, ray)
}

if __name__ == "__main__":
    try:
        sys.exit(STANDINS[sys.argv[1]](sys.argv[2:]))
    except (Wrong, KeyError, IndexError, ValueError, OSError) as problem:
        sys.exit(f"{' '.join(sys.argv[1:])}: {type(problem).__name__}: {problem}")
