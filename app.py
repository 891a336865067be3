"""The web studio's entry: reads the options, starts the worker, serves the page. What is on the page lives in `ui/`."""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.refusal import Refusal

if TYPE_CHECKING:
    import gradio as gr

    from pipelines.queue.queue import Queue
    from ui.studio import Check

DONE, REFUSED = 0, 2
SHORTEST = 8  # characters of a password that guards the studio from a network
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


def main(words: Sequence[str] | None = None) -> int:
    """Serve the studio until Ctrl-C or SIGTERM; 0 when it was ended so, 2 when the options were refused."""
    args = _parser().parse_args(words)
    try:
        password = _password(args)
        return _run(args, password)
    except Refusal as refusal:
        print(f"diorama: {refusal}", file=sys.stderr)
        return REFUSED


def serve(
    queue: Queue, folder: Path, check: Check, host: str, port: int, password: str | None = None, **more: Any
) -> gr.Blocks:
    """Serve the page and return; `close()` on the result ends it. `more` goes to `ui.page`: `build` and `options`."""
    os.environ.update(QUIET)  # before gradio reads it
    from ui.page import build, options

    share = more.pop("share", False)
    programs = {name: more.pop(name) for name in ("webhooks", "mcp") if name in more}
    alone = _is_loopback(host) and not share and password is None  # a password means that others come, as by a proxy
    page = build(queue, folder, check, by_path=alone, **more)
    page.translate()
    page.launch(
        server_name=host,
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        inbrowser=False,
        **options(page.studio, {"password": password}, **programs),
    )
    return page


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="diorama studio", description="Serve the web studio.", allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default: 7860)")
    parser.add_argument(
        "--out", type=Path, default=Path("out/studio"), metavar="DIR", help="output folder (default: out/studio)"
    )
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="file whose first line is the password; or DIORAMA_PASSWORD"
    )
    parser.add_argument(
        "--models", type=Path, action="append", default=[], metavar="FOLDER",
        help="folder of models, or a model in diffusers layout, to offer besides; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--allow-webhook", action="append", default=[], metavar="https://HOST[:PORT][/PREFIX]",
        help="where webhooks of jobs may go; may be given several times",
    )  # fmt: skip
    parser.add_argument("--mcp", action="store_true", help="let language models use the studio as a tool (MCP)")
    parser.add_argument("--share", action="store_true", help="also serve on a public address, through gradio's servers")
    return parser


def _password(args: argparse.Namespace) -> str | None:
    """The password, or None where none is needed.

    Raises:
        Refusal: the address can be reached from other machines and there is no password, or a weak one.
    """
    password = os.environ.get("DIORAMA_PASSWORD") or None
    if args.password_file is not None:
        try:
            lines = args.password_file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise Refusal("--password-file", f"{str(args.password_file)!r} can not be read: {reason}") from None
        password = lines[0].strip() if lines else ""
        if not password:
            raise Refusal("--password-file", f"expected the password in the first line of {str(args.password_file)!r}")
    if args.share or not _is_loopback(args.host):
        what = "--share" if args.share else f"--host {args.host}"
        if password is None:
            raise Refusal(what, "others could reach the studio; set DIORAMA_PASSWORD or give --password-file")
        if len(password) < SHORTEST:
            raise Refusal(what, f"expected a password of at least {SHORTEST} characters, got {len(password)}")
    return password


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _run(args: argparse.Namespace, password: str | None) -> int:
    from pipelines.engine import Engine
    from pipelines.files.output import OutputFolder
    from pipelines.history.history import History
    from pipelines.queue.keeper import Keeper
    from pipelines.queue.queue import Queue

    _require_free(args.host, args.port)  # first, for what is refused writes nothing
    if missing := next((str(path) for path in args.models if not path.is_dir()), None):
        raise Refusal("--models", f"expected a folder, got {missing!r}, which is none; check its name")
    try:
        OutputFolder(args.out).probe()
        queue = Queue(args.out)
        History(args.out)  # whose file may be one of a newer version
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Refusal("--out", f"expected a folder to write to, got {str(args.out)!r}: {reason}") from None

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())  # else it would do nothing to a container's first process
    keeper = Keeper(args.out)
    keeper.start()
    try:
        page = serve(
            queue, args.out, Engine().check, args.host, args.port, password,
            health=lambda: keeper.problem, share=args.share, roots=args.models,
            webhooks=args.allow_webhook, mcp=args.mcp,
        )  # fmt: skip
        print(f"The studio is at {page.local_url} and its pictures are in {args.out}; Ctrl-C ends it.", flush=True)
        if args.share:
            print(f"Others reach it at {page.share_url}", flush=True)
        ended.wait()
        page.close(verbose=False)
    except KeyboardInterrupt:
        print("The studio ends; a render that was at work is marked as interrupted.", flush=True)
    finally:
        keeper.stop()
    return DONE


def _require_free(host: str, port: int) -> None:
    """Raise Refusal for an address that can not be listened on; gradio's own message is about its ranges of ports."""
    if not 1 <= port <= 65535:
        raise Refusal("--port", f"expected a number from 1 to 65535, got {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
    except OSError as error:
        raise Refusal("--port", f"{host}:{port} can not be listened on: {error.strerror}; choose another") from None


if __name__ == "__main__":
    sys.exit(main())
