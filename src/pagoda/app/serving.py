"""The page on this machine, for this machine alone: one address, nothing fetched from elsewhere, nothing left over."""

import asyncio
import errno
import os
import re
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

from pagoda.app.events import Events
from pagoda.app.page import build_page
from pagoda.app.work import Work
from pagoda.stopping import StopRequests

HOST = "127.0.0.1"
MAX_UPLOAD = "256mb"
"""of a file that is handed over"""
MAX_SESSIONS = 16
"""whose pictures are kept in memory; of more the oldest begin anew"""
END_SECONDS = 2
"""that answers under way may take at the end"""
WAKES_SECONDS = 0.1
"""between looks at whether somebody has asked for the end"""
ENDED = "the server of the page ended by itself; what it said stands above"
FONTS = ("system-ui", "sans-serif")
LETTERS = ("ui-monospace", "monospace")
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'self'",
        "form-action 'self'",
    )
)
"""what a browser may load for the page: what comes from this address"""
OUTSIDE = re.compile(
    r"/(proxy=|file=[a-z][a-z0-9+.-]*:|vibe|undo-vibe|run-history|process_recording|monitoring)", re.I
)
"""gradio's addresses that fetch from elsewhere, or are for something else"""
FETCH = "async_move_resource_to_block_cache"
"""gradio's name for taking a file, or what is at an address, into its folder"""
App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def listen(port: int) -> socket.socket:
    """A socket that waits for browsers of this machine at a port, 0 for any free one.

    Raises OSError, which names a free port, where this one is in use.

    >>> with listen(0) as taken:
    ...     try:
    ...         listen(taken.getsockname()[1])
    ...     except OSError as error:
    ...         print("is in use; --port" in str(error))
    True
    """
    waiting = socket.socket()
    try:
        if os.name != "nt":  # where it would let two programs share a port
            waiting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        waiting.bind((HOST, port))
        waiting.listen()
        return waiting
    except OSError as error:
        waiting.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        what = "is in use" if error.errno == errno.EADDRINUSE else "is not for everybody"
        raise OSError(f"port {port} of {HOST} {what}; --port {_free_port()} is free") from error


def _free_port() -> int:
    with socket.socket() as any_free:
        any_free.bind((HOST, 0))
        return int(any_free.getsockname()[1])


def serve(events: Events, waiting: socket.socket, say: Callable[[str], object]) -> None:
    """Serve the page until somebody asks for the end; `say` is called with its address once it can be opened.

    Raises Stopped at the end, ImportError where gradio is not installed, OSError where the server ends by itself.
    """
    with StopRequests() as stops, served(events, waiting) as (address, thread):
        say(address)
        while thread.is_alive() and not stops.received:
            thread.join(WAKES_SECONDS)
        stops.check()
        raise OSError(ENDED)


@contextmanager
def served(events: Events, waiting: socket.socket) -> Iterator[tuple[str, threading.Thread]]:
    """(its address, what serves it) of the page, which in the block can be opened.

    Raises ImportError where gradio is not installed, OSError where its server does not begin.
    """
    with waiting, _gradio_alone() as (gradio, uvicorn):
        port = waiting.getsockname()[1]
        ending, work = threading.Event(), Work()
        settings = uvicorn.Config(
            _only_from_here(_application(gradio, events, work), port, ending),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=END_SECONDS,
        )
        server = uvicorn.Server(settings)
        # Beside the main thread, where signals are heard as every verb hears them.
        thread = threading.Thread(target=server.run, args=([waiting],), daemon=True)
        thread.start()
        try:
            while thread.is_alive() and not server.started:
                thread.join(WAKES_SECONDS)
            if not server.started:
                raise OSError(ENDED)
            yield f"http://{HOST}:{port}/", thread
        finally:
            work.is_over = server.should_exit = True
            ending.set()
            thread.join()
            work.end()


@contextmanager
def _gradio_alone() -> Iterator[tuple[Any, Any]]:
    """Gradio and its server, deaf to what the environment tells it (to share, to report, to open folders).

    Its files are in a folder of their own, which goes at the end.
    """
    if find_spec("gradio") is None:
        raise ImportError("pagoda app needs gradio; install with: pip install 'pagoda-vision[app]'")
    with TemporaryDirectory(prefix="pagoda-app-") as folder, _environment(folder):
        import gradio
        import uvicorn

        yield gradio, uvicorn


@contextmanager
def _environment(folder: str) -> Iterator[None]:
    told = [name for name in os.environ if name.startswith(("GRADIO_", "SPACE_"))]
    ours = {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": os.path.join(folder, "files"),
        "GRADIO_EXAMPLES_CACHE": os.path.join(folder, "examples"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    before = {name: os.environ.pop(name, None) for name in {*told, *ours}}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _application(gradio: Any, events: Events, work: Work) -> App:
    """The page within a web application, without gradio's own pages about it."""
    from fastapi import FastAPI  # a part of gradio

    blocks = build_page(gradio, events, work)
    blocks.state_session_capacity = MAX_SESSIONS
    # Where it believes that its page is not open yet, which it does of mounted ones, it takes any path for an upload.
    blocks.has_launched = True
    for block in blocks.blocks.values():
        if hasattr(block, FETCH):
            setattr(block, FETCH, _deaf_to_addresses(getattr(block, FETCH)))
    theme = gradio.themes.Base(font=list(FONTS), font_mono=list(LETTERS))
    return gradio.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        blocks,
        path="/",
        server_name=HOST,
        allowed_paths=[],
        max_file_size=MAX_UPLOAD,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme,
    )


def _deaf_to_addresses(move: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    """What takes files into the page's folder, without fetching what is handed over as an address."""

    async def move_file(place: Any) -> Any:
        if place is not None and "://" in str(place):
            raise ValueError("files are uploaded, and no addresses are fetched")
        return await move(place)

    return move_file


def _only_from_here(app: App, port: int, ending: threading.Event) -> App:
    """The same for its own address alone: other web sites cannot ask it, and it makes browsers ask nobody else.

    What is still listened to when the end has come is told that nobody listens any more.
    """
    hosts = {f"{name}:{port}".encode() for name in (HOST, "localhost")}

    async def guarded(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await app(scope, receive, send)
        headers = dict(scope["headers"])
        is_ours = headers.get(b"host") in hosts and not _comes_from_elsewhere(headers)
        if scope["type"] != "http" or not is_ours or OUTSIDE.search(_path(scope)):
            return await _refuse(send)

        is_open = False

        async def send_with_policy(message: dict[str, Any]) -> None:
            nonlocal is_open
            is_open = message["type"] == "http.response.start" or message.get("more_body", False)
            if message["type"] == "http.response.start":
                added = [
                    (b"content-security-policy", POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        async def receive_until_end() -> Any:
            said = asyncio.ensure_future(receive())
            while not (await asyncio.wait({said}, timeout=WAKES_SECONDS))[0]:
                if ending.is_set():
                    said.cancel()
                    return {"type": "http.disconnect"}
            return said.result()

        await app(scope, receive_until_end, send_with_policy)
        if is_open and ending.is_set():  # an answer that nobody listens to any more comes to its end, too
            await send({"type": "http.response.body", "body": b""})

    return guarded


def _path(scope: dict[str, Any]) -> str:
    return str(scope["path"])


def _comes_from_elsewhere(headers: dict[bytes, bytes]) -> bool:
    """Asked by a page of another web site; a person may follow a link."""
    site, mode = headers.get(b"sec-fetch-site", b"none"), headers.get(b"sec-fetch-mode", b"")
    return site in (b"cross-site", b"same-site") and mode != b"navigate"


async def _refuse(send: Any) -> None:
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"refused: this page is for its own address alone"})


def open_browser(address: str) -> None:
    """In the person's browser, where there is one; a word on standard error where there is none."""
    import webbrowser  # nobody else needs it

    opened = False
    with suppress(OSError, webbrowser.Error):
        opened = webbrowser.open(address)
    if not opened:
        print(f"no browser could be opened; open {address} yourself", file=sys.stderr)
