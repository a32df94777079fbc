"""Downloads against a server in this process: asked for once, whole or not at all, continued where they broke off."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from pagoda.backbones.resnet import ResNet
from pagoda.backbones.resnet_options import Body
from pagoda.convert.read_backbone import load_backbone
from pagoda.models import create_model, load, local_file
from pagoda.weights import remote
from pagoda.weights.file_types import is_remote
from pagoda.weights.files import WeightsError, save_weights
from pagoda.weights.remote import fetch

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Server(ThreadingHTTPServer):
    """Serves `files`, with ranges; `breaks` connections end halfway."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/m.pth": CONTENT}
        self.etag, self.breaks = '"one"', 0
        self.asked: list[tuple[str, str | None]] = []
        """(path, the range asked for)"""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path, wanted = self.path.split("?")[0], self.headers.get("Range")
        self.server.asked.append((path, wanted))
        if path not in self.server.files:
            self.send_error(int(path[1:]) if path[1:].isdigit() else 404)
            return
        body, status = self.server.files[path], 200
        if wanted and self.headers.get("If-Range") == self.server.etag:
            body, status = body[int(wanted.removeprefix("bytes=").rstrip("-")) :], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("PAGODA_CACHE", str(tmp_path / "cache"))
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def left_in_cache(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_a_file_is_fetched_once_and_its_hash_is_shown(server: Server, tmp_path: Path, capsys) -> None:
    file = fetch(f"{server.address}/m.pth?download=true")
    assert file.read_bytes() == CONTENT and file.name == "m.pth" and tmp_path in file.parents
    assert hashlib.sha256(CONTENT).hexdigest() in capsys.readouterr().err
    assert fetch(f"{server.address}/m.pth?download=true") == file
    assert len(server.asked) == 1
    assert left_in_cache(tmp_path) == ["m.pth", "m.pth.lock"]


def test_files_of_one_name_at_two_addresses_are_two_files(server: Server) -> None:
    server.files["/other/m.pth"] = b"x"
    assert fetch(f"{server.address}/m.pth") != fetch(f"{server.address}/other/m.pth")


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    for size in (len(CONTENT) // 2, len(CONTENT) * 3 // 4):
        with pytest.raises(
            WeightsError, match=rf"{size} bytes are kept in .*m.pth.part .* goes on from there"
        ):
            fetch(f"{server.address}/m.pth")
    assert fetch(f"{server.address}/m.pth").read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=524288-", "bytes=786432-"]
    assert left_in_cache(tmp_path) == ["m.pth", "m.pth.lock"]


@pytest.mark.parametrize("etag", ['"two"', ""])
def test_a_file_that_changed_meanwhile_begins_anew(server: Server, etag: str) -> None:
    server.breaks = 1
    with pytest.raises(WeightsError):
        fetch(f"{server.address}/m.pth")
    server.files["/m.pth"], server.etag = CONTENT[::-1], etag
    assert fetch(f"{server.address}/m.pth").read_bytes() == CONTENT[::-1]


def test_without_a_validator_nothing_is_continued(server: Server) -> None:
    server.etag, server.breaks = "", 1
    with pytest.raises(WeightsError):
        fetch(f"{server.address}/m.pth")
    assert fetch(f"{server.address}/m.pth").read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, None]


def test_several_that_ask_at_once_fetch_it_once(server: Server) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(f"{server.address}/m.pth"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found) == 4 and len(server.asked) == 1


def test_the_hash_in_a_name_is_held_to(server: Server, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    right, wrong = f"/fcos-{digest[:8]}.pth", "/fcos-0123abcd.pth"
    server.files |= {right: CONTENT, wrong: CONTENT}
    assert remote.PROMISED_HASH.search(right)
    assert fetch(server.address + right).read_bytes() == CONTENT
    with pytest.raises(WeightsError, match=f"promises a SHA-256 that begins with 0123abcd, got {digest}"):
        fetch(server.address + wrong)
    assert "fcos-0123abcd.pth" not in left_in_cache(tmp_path)
    server.files["/run-20200130.pth"] = CONTENT  # a date, not a hash
    assert fetch(f"{server.address}/run-20200130.pth").is_file()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/none.pth", "404 .*there is no such file; look at the address"),
        ("/403", "needs a login: fetch it with a browser"),
        ("/500", "500 .*try again later"),
    ],
)
def test_refusals_of_the_server_say_what_to_do(server: Server, path: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        fetch(server.address + path)


def test_no_server_at_all(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"cannot fetch http://127.0.0.1:9/m.pth: .*give its path"):
        fetch("http://127.0.0.1:9/m.pth")


def test_names_from_addresses_stay_in_the_cache(server: Server, tmp_path: Path) -> None:
    for path in ("/..%2F..%2Fevil.pth", "/a/..", "/.hidden"):
        server.files[path] = b"x"
        assert (tmp_path / "cache") in fetch(server.address + path).resolve().parents


def test_paths_are_no_addresses_and_file_addresses_are_refused() -> None:
    assert not is_remote("weights.pth") and not is_remote(Path("https:/a")) and not is_remote("C:\\m.pth")
    assert is_remote("HTTPS://a/b.pth") and is_remote("hf:a/b/c.pth") and is_remote("file:///a.pth")
    with pytest.raises(WeightsError, match=r"give the path itself, /a b.pth"):
        fetch("file:///a%20b.pth")


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("hf:tianzhi/FCOS/FCOS_R_50_FPN_1x.pth", ("tianzhi/FCOS", "FCOS_R_50_FPN_1x.pth", None)),
        ("hf:a.b/c-d@v1.0/deep/er/m.pth", ("a.b/c-d", "deep/er/m.pth", "v1.0")),
    ],
)
def test_hub_names_go_to_the_hub(address, asked, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PAGODA_CACHE", str(tmp_path))
    calls = []

    def download(repo: str, file: str, *, revision: str | None, cache_dir: Path) -> str:
        calls.append((repo, file, revision))
        assert cache_dir == tmp_path / "huggingface"
        return str(tmp_path / "m.pth")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert fetch(address) == tmp_path / "m.pth" and calls == [asked]


def test_hub_names_are_checked() -> None:
    with pytest.raises(WeightsError, match=r"reads hf:OWNER/REPO/FILE or .* got 'hf:FCOS.pth'"):
        fetch("hf:FCOS.pth")


def test_a_model_is_loaded_from_an_address(server: Server, tmp_path: Path) -> None:
    model = create_model("fcos_resnet18_fpn", num_classes=2, width=16, head_depth=1)
    file = save_weights(tmp_path / "m.safetensors", model.state_dict(), model.card())
    server.files["/m.safetensors"] = file.read_bytes()
    loaded = load(f"{server.address}/m.safetensors")
    assert torch.equal(loaded.scales, model.scales) and loaded.card() == model.card()
    assert not [name for name, _ in server.asked if name != "/m.safetensors"]


def in_shards(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    """{file: content}: an index and two files."""
    names, files = list(tensors), {}
    halves = {"m-00001-of-00002.safetensors": names[:9], "m-00002-of-00002.safetensors": names[9:]}
    for file, half in halves.items():
        files[file] = save({name: tensors[name].contiguous() for name in half})
    places = {name: file for file, half in halves.items() for name in half}
    return {"m.safetensors.index.json": json.dumps({"weight_map": places}).encode(), **files}


def test_an_index_brings_the_files_it_leads_to(server: Server, tmp_path: Path) -> None:
    body = ResNet(18, body=Body(base_channels=8))
    files = in_shards(body.state_dict())
    server.files |= {f"/a/{name}": content for name, content in files.items()}
    address = f"{server.address}/a/m.safetensors.index.json?download=true"
    state = load_backbone(local_file(address)).state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in body.state_dict().items())
    assert local_file(address).name == "m.safetensors.index.json"
    assert sorted(name for name, _ in server.asked) == sorted(f"/a/{name}" for name in files)


def test_an_index_without_one_of_its_files(server: Server) -> None:
    files = in_shards(ResNet(18, body=Body(base_channels=8)).state_dict())
    server.files |= {f"/{name}": content for name, content in list(files.items())[:2]}
    with pytest.raises(WeightsError, match=r"cannot fetch .*/m-00002-of-00002.safetensors: 404"):
        fetch(f"{server.address}/m.safetensors.index.json")
    server.files["/x.index.json"] = json.dumps({"weight_map": {"a": "../b.safetensors"}}).encode()
    with pytest.raises(WeightsError, match=r"leads to '../b.safetensors'; its files should lie beside it"):
        fetch(f"{server.address}/x.index.json")


def test_an_index_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def download(repo: str, file: str, *, revision: str | None, cache_dir: Path) -> str:
        calls.append((repo, file, revision))
        path = tmp_path / Path(file).name
        path.write_bytes(
            json.dumps({"weight_map": {"a": "m-1.bin", "b": "m-2.bin", "c": "m-1.bin"}}).encode()
        )
        return str(path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert fetch("hf:a/b@v1/deep/m.bin.index.json") == tmp_path / "m.bin.index.json"
    assert [file for _, file, _ in calls] == ["deep/m.bin.index.json", "deep/m-1.bin", "deep/m-2.bin"]
    assert {(repo, revision) for repo, _, revision in calls} == {("a/b", "v1")}


def test_a_published_file_that_is_missing_is_named_with_its_address() -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no weights file at FCOS_R_50_FPN_1x.pth; .* is published at https"
    ):
        load("FCOS_R_50_FPN_1x.pth")
