"""The page's server: for this machine alone, no file of it, no other address, and an end that leaves nothing."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from pagoda.app import serving
from pagoda.app.events import Events
from pagoda.app.looking import Looker
from pagoda.app.serving import listen, open_browser, served
from pagoda.cli.main import main

SECRET = "nobody shall read this"


@pytest.fixture(scope="module")
def address(sure_model):
    pytest.importorskip("gradio", reason="needs gradio: pip install 'pagoda-vision[app]'")
    with served(Events((Looker(sure_model(), "a"),)), listen(0)) as (address, _):
        yield address


def ask(address, *, data=None, **headers):
    """(status, body, headers); no proxy stands between."""
    request = urllib.request.Request(
        address, data, {name.replace("_", "-"): each for name, each in headers.items()}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with closing(opener.open(request, timeout=20)) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


@pytest.mark.medium
def test_no_file_of_the_machine_can_be_read(address, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    ways = (
        str(secret),
        "/etc/hostname",
        "../" * 12 + str(secret)[1:],
        f"file://{secret}",
        f"/proc/self/root{secret}",
    )
    for path in ways:
        for way in (
            "gradio_api/file=",
            "gradio_api/file/",
            "file=",
            "static/",
            "assets/",
            "gradio_api/custom_component/1/client/component/",
        ):
            status, body, _ = ask(f"{address}{way}{path}")
            assert status >= 400 and SECRET.encode() not in body, (way, path)
    for path in (
        "gradio_api/file=http://127.0.0.1:1/",
        "gradio_api/file=ftp://127.0.0.1/a",
        "gradio_api/proxy=http://127.0.0.1:1/",
    ):
        assert ask(address + path)[0] == 403
    for module in (serving, importlib.util):
        assert ask(f"{address}gradio_api/file={module.__file__}")[0] == 403


def handed(path):
    """A file as the page's script says that it was uploaded."""
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, "orig_name": "a.png"}


def fire(address, event, values):
    """What the page's script is told of one of its events, which is asked for by hand."""
    body = {
        "data": values,
        "fn_index": event["id"],
        "session_hash": f"someone-{event['id']}",
        "trigger_id": None,
    }
    status, _, _ = ask(
        f"{address}gradio_api/queue/join", data=json.dumps(body).encode(), Content_Type="application/json"
    )
    assert status == 200
    return ask(f"{address}gradio_api/queue/data?session_hash={body['session_hash']}")[1].decode()


@pytest.mark.medium
def test_no_event_takes_a_path_that_was_not_uploaded(address, tmp_path, monkeypatch):
    """Each event is given files of the machine in place of everything that it takes."""
    secrets = [tmp_path / name for name in ("secret.png", "secret.svg", "secret.mp4")]
    for secret in secrets:
        secret.write_text(SECRET)
    events = [
        each for each in json.loads(ask(f"{address}config")[1])["dependencies"] if len(each["inputs"]) > 1
    ]
    assert len(events) > 4
    fetched = []
    monkeypatch.setattr(
        "gradio.processing_utils.async_ssrf_protected_download", lambda *given: fetched.append(given)
    )
    monkeypatch.setattr(
        "gradio.processing_utils.ssrf_protected_download", lambda *given: fetched.append(given)
    )
    for event in events:
        for secret in (*secrets, "http://example.invalid/a.png"):
            said = fire(address, event, [None, *[handed(secret)] * (len(event["inputs"]) - 1)])
            assert '"success":false' in said.replace(" ", "") and SECRET not in said
        as_json = {
            "data": json.dumps({"data": [], "fn_index": event["id"]}).encode(),
            "Content_Type": "application/json",
        }
        assert ask(f"{address}gradio_api/run/{event['api_name']}", **as_json)[0] >= 400
    assert fetched == []
    for secret in secrets:
        assert ask(f"{address}gradio_api/file={secret}")[0] == 403
    kept = [path for path in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if path.is_file()]
    assert not any(SECRET in path.read_text(errors="replace") for path in kept)


@pytest.mark.medium
def test_other_addresses_and_web_sites_are_refused(address):
    status, _, headers = ask(address)
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "http" not in policy and "*" not in policy
    assert ask(address, Host="evil.example")[0] == 403
    assert ask(f"{address}config", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="cors")[0] == 403
    assert ask(address, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200
    config = json.loads(ask(f"{address}config")[1])
    assert config["analytics_enabled"] is False
    assert all(each["api_visibility"] == "private" for each in config["dependencies"])


def upload(address, content):
    """(status, answer) to a file that would be written somewhere else."""
    edge = "----edge"
    part = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="../../../a.png"\r\n\r\n'.encode()
    body = part + content + f"\r\n--{edge}--\r\n".encode()
    return ask(
        f"{address}gradio_api/upload", data=body, Content_Type=f"multipart/form-data; boundary={edge}"
    )[:2]


@pytest.mark.medium
def test_uploads_stay_in_their_folder_and_have_a_limit(sure_model, monkeypatch):
    pytest.importorskip("gradio", reason="needs gradio: pip install 'pagoda-vision[app]'")
    monkeypatch.setattr(serving, "MAX_UPLOAD", "1kb")
    with served(Events((Looker(sure_model(), "a"),)), listen(0)) as (address, _):
        status, answer = upload(address, b"x" * 100)
        (path,) = json.loads(answer)
        assert (
            status == 200
            and ".." not in path
            and Path(path).parents[1] == Path(os.environ["GRADIO_TEMP_DIR"])
        )
        status, answer = upload(address, b"x" * 3000)
        assert status == 413 and b"maximum allowed size" in answer
    assert not Path(path).exists()


def test_only_this_machine_is_listened_to_and_a_port_in_use_names_a_free_one():
    with listen(0) as waiting:
        host, port = waiting.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(
            OSError, match=rf"port {port} of 127.0.0.1 is in use; --port (\d+) is free"
        ) as caught:
            listen(port)
        free = int(str(caught.value).split("--port ")[1].split()[0])
    with listen(free) as waiting:
        assert waiting.getsockname()[1] == free


def test_without_a_browser_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    open_browser("http://127.0.0.1:1/")
    assert capsys.readouterr().err == "no browser could be opened; open http://127.0.0.1:1/ yourself\n"


def run(*arguments):
    """The exit code."""
    with pytest.raises(SystemExit) as stop:
        main(["app", *map(str, arguments)])
    return stop.value.code


def test_without_gradio_its_extra_is_named(checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    assert run(checkpoint, "--port", "0") == 1
    assert (
        "pagoda app needs gradio; install with: pip install 'pagoda-vision[app]'" in capsys.readouterr().err
    )


def test_bad_words_are_sentences(checkpoint, data_folder, capsys, tmp_path):
    for words, said in (
        ((checkpoint, "--port", "70000"), "--port must be a port from 0 to 65535, got 70000"),
        ((tmp_path / "none.safetensors", "--port", "0"), "none.safetensors"),
        ((checkpoint, "--port", "0", "--data", tmp_path), str(tmp_path)),
        ((checkpoint, "--port", "0", "--data", data_folder, "--split", "vall"), "--split"),
    ):
        assert run(*words) == 1
        assert said in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_says_where_it_is_and_ends_when_asked(checkpoint, repository, tmp_path, signum, code):
    pytest.importorskip("gradio", reason="needs gradio: pip install 'pagoda-vision[app]'")
    # What would open folders or share the page is not listened to.
    hostile = {"GRADIO_ALLOWED_PATHS": "/", "GRADIO_SHARE": "True", "GRADIO_SERVER_NAME": "0.0.0.0"}
    environment = {**os.environ, **hostile, "PYTHONPATH": str(repository / "src"), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "pagoda", "app", str(checkpoint), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        line = process.stdout.readline()
        address = line.split()[4]
        assert line == f"pagoda app is at {address} (Ctrl-C ends it)\n"
        assert ask(address)[0] == 200 and ask(f"{address}gradio_api/file=/etc/hostname")[0] == 403
        assert len(list(tmp_path.glob("pagoda-app-*"))) == 1
        process.send_signal(signum)
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, errors) == (code, "", "interrupted\n")
    assert list(tmp_path.glob("pagoda-app-*")) == []
