"""Commands of Pagoda ended at random moments: what they leave is readable, and what goes on ends with the same bits.

    python tests/faults/kills.py --moments 200                 every command, every signal, by turns
    python tests/faults/kills.py --moments 20 --only train2 track
    python tests/faults/kills.py --writes 500                  SIGKILL inside writes of every kind

Each trial is a process forked from this one, which has loaded everything: it takes as long as the work alone. Prints a
table and exits with 1 where anything was lost; `--keep DIR` keeps the folders of the trials that failed.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import matplotlib.pyplot  # noqa: F401
import onnx
import torch
import torch.utils.tensorboard
from PIL import Image
from tiny import tiny

from pagoda.cli import convert, export, predict, track, train  # noqa: F401 (loaded once, for all trials)
from pagoda.cli.main import main
from pagoda.data.drawn.synthetic import DrawnShapes
from pagoda.data.saving import write_coco_folder
from pagoda.exporting import onnx as onnx_export
from pagoda.files.atomic import write_atomically, write_free
from pagoda.models import create_model, load
from pagoda.recipes.predictions_file import PredictionsFile
from pagoda.training.last import load_last, random_state, save_last
from pagoda.training.run_log import read_records
from pagoda.video.frames import VideoSource, VideoWriter
from pagoda.visualization import curves
from pagoda.weights.files import load_weights, save_weights

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TINY = f"{Path(__file__).with_name('tiny.py')}:tiny"
SAVE_SECONDS = 0.2
NUM_FRAMES = 12
PATIENCE_SECONDS = 120


class Lost(AssertionError):
    """A trial found something that should have been kept."""


def check(holds: bool, said: str) -> None:
    if not holds:
        raise Lost(said)


class Child:
    """`work` in a process of its own, whose output goes to a file."""

    def __init__(self, work: Callable[[], None], log: Path, **environment: str) -> None:
        self.log = log
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(work, environment)
        self._code: int | None = None

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int | None:
        """The exit code, minus the signal where one ended it; None where it still runs."""
        end = time.monotonic() + seconds
        while self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                return None
            else:
                time.sleep(0.005)
        return self._code

    def end(self, signum: int) -> None:
        if self._code is None:
            os.kill(self.pid, signum)

    def _run(self, work: Callable[[], None], environment: dict[str, str]) -> None:
        code = 70
        try:
            output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(output, stream)
            os.environ.update(environment)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            torch.set_num_threads(
                1
            )  # makes torch's pool anew before its threads could do so at the same time
            work()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except KeyboardInterrupt:  # before the command itself heard of it
            code = 130
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def command(*words: object) -> Callable[[], None]:
    return lambda: main([str(word) for word in words])


def finish(work: Callable[[], None], log: Path, **environment: str) -> None:
    """A command that nobody disturbs."""
    code = Child(work, log, **environment).wait()
    check(code == 0, f"a command without any disturbance ended with {code}: {log.read_text()[-2000:]}")


def check_ending(code: int | None, signum: int, log: Path) -> None:
    """130 and 143 as documented, -9 for a kill, 0 where it was done already; never a traceback."""
    text = log.read_text() if log.exists() else ""
    check(code is not None, f"still running {PATIENCE_SECONDS} s after {signal.Signals(signum).name}")
    expected = {0, -signum} if signum in (signal.SIGKILL, signal.SIGTERM) else {0}
    check(code in expected | {128 + signum}, f"exit code {code}: {text[-2000:]}")
    check("Traceback" not in text, f"a traceback: {text[-3000:]}")


def check_no_drafts(folder: Path) -> None:
    left = [path.name for path in folder.rglob(".*") if path.name != ".lock"]
    check(not left, f"left over in {folder}: {left}")


class Place:
    """What trials share: a data set, a checkpoint, pictures of a video, and how undisturbed commands end."""

    def __init__(self, root: Path) -> None:
        self.root, self.data, self.frames = root, root / "data", root / "frames"
        for split, count, seed in (("train", 16, 1), ("val", 4, 2)):
            write_coco_folder(DrawnShapes(count, image_size=(64, 64), seed=seed), self.data, split=split)
        shapes = DrawnShapes(NUM_FRAMES, image_size=(48, 64), seed=3)
        self.frames.mkdir()
        for number in range(NUM_FRAMES):
            pixels = shapes.picture(number).permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(self.frames / f"{number:03}.png")
        torch.manual_seed(0)
        model = tiny(3)
        model.postprocess = model.postprocess.with_limits(max_detections=4)
        torch.nn.init.zeros_(model.class_head.predict.bias)  # scores of about a half
        self.checkpoint = save_weights(root / "tiny.safetensors", model.state_dict(), model.card())
        other = create_model(
            "fcos_resnet18_fpn", num_classes=3, width=32, head_depth=1, short_side=64, long_side=64
        )
        self.convertible = save_weights(root / "fcos.safetensors", other.state_dict(), other.card())
        self.program: torch.onnx.ONNXProgram | None = None
        self._references: dict[str, tuple[Path, float]] = {}

    def reference(self, name: str, make: Callable[[Path], None]) -> tuple[Path, float]:
        """(folder, seconds) of the undisturbed command."""
        if name not in self._references:
            folder = self.root / f"reference-{name}"
            folder.mkdir()
            started = time.monotonic()
            make(folder)
            self._references[name] = folder, time.monotonic() - started
        return self._references[name]


# Training -------------------------------------------------------------------------------------------------------------


def train_words(place: Place, folder: Path, workers: int) -> tuple[object, ...]:
    fixed = ("--epochs=2", "--batch-size=4", "--device=cpu", "--name=run", f"--save-seconds={SAVE_SECONDS}")
    return (
        "train",
        TINY,
        f"--data={place.data}",
        f"--out={folder}",
        f"--workers={workers}",
        *fixed,
    )


def launch(words: Sequence[object], folder: Path, processes: int) -> list[Child]:
    """One process, or a group of them as torchrun would start it."""
    if processes == 1:
        return [Child(command(*words), folder / "log")]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    world = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        Child(
            command(*words),
            folder / f"log{rank}" if rank else folder / "log",
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            **world,
        )
        for rank in range(processes)
    ]


def wait_all(children: Sequence[Child]) -> list[int | None]:
    """As a launcher does: where one of them fails, the others are told to end, and after a while made to."""
    end = time.monotonic() + PATIENCE_SECONDS
    while any(child.wait(0.02) is None for child in children) and time.monotonic() < end:
        if any(child.wait(0) not in (0, None) for child in children):
            for signum, seconds in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
                for child in children:
                    child.end(signum)
                for child in children:
                    child.wait(seconds)
    return [child.wait(0) for child in children]


def try_train(
    place: Place,
    folder: Path,
    rng: random.Random,
    signum: int,
    *,
    workers: int = 0,
    processes: int = 1,
    again: int = 1,
) -> None:
    """Ended `again` times at random moments, then left to its end."""
    words = train_words(place, folder, workers)

    def undisturbed(reference: Path) -> None:
        codes = wait_all(launch(train_words(place, reference, workers), reference, processes))
        check(
            set(codes) == {0}, f"the reference ended with {codes}: {(reference / 'log').read_text()[-3000:]}"
        )

    whole, seconds = place.reference(f"train-{workers}-{processes}", undisturbed)
    for _ in range(again):
        run = folder / "run-1"
        step = load_last(run)["at"]["step"] if (run / "last" / "state.pt").exists() else -1
        (folder / "log").write_text("")  # a child may be ended before it opens it
        children = launch(goes_on(words, run), folder, processes)
        time.sleep(rng.uniform(0, seconds))
        asked = children if processes == 1 or rng.random() < 0.5 else [rng.choice(children)]
        for child in asked:
            child.end(signum)
        codes = wait_all(children)
        if processes == 1:
            check_ending(codes[0], signum, folder / "log")
        check_saved(run, codes[0], step, folder / "log")
    for _ in range(2):  # the first may have had nothing to go on from
        codes = wait_all(launch(goes_on(words, run), folder, processes))
        check(set(codes) == {0}, f"going on ended with {codes}: {(folder / 'log').read_text()[-3000:]}")
        if (run / "report.html").exists():
            break
    check_same_run(run, whole / "run-1")


def goes_on(words: tuple[object, ...], run: Path) -> tuple[object, ...]:
    if (run / "last" / "state.pt").exists():
        return ("train", TINY, "--resume", run)
    shutil.rmtree(run, ignore_errors=True)  # ended before there was anything to keep
    return words


def check_saved(run: Path, code: int | None, before: int, log: Path) -> None:
    """The state can be read and has not gone back; asked to stop, not even one step is lost."""
    if not (run / "last" / "state.pt").exists():
        check(before < 0 and "--resume" not in log.read_text(), "there is no state, but --resume is advised")
        return
    at = load_last(run)["at"]
    check(at["step"] >= before, f"the state went back from step {before} to {at['step']}")
    if code in (130, 143) and "--resume" in log.read_text():
        done = [row["step"] for row in read_records(run / "metrics.jsonl") if row["kind"] == "step"]
        check(at["step"] == max(done, default=0), f"saved at step {at['step']}, but {max(done)} were done")
    if (run / "best.safetensors").exists():
        load_weights(run / "best.safetensors")


def check_same_run(run: Path, whole: Path) -> None:
    states = [load_last(each) for each in (run, whole)]
    for part in ("model", "average"):
        mine, theirs = (state[part] for state in states)
        different = [name for name in theirs if not torch.equal(mine[name], theirs[name])]
        check(not different, f"other bits in {part}: {different[:3]}")
    hashes = [sha256((each / "best.safetensors").read_bytes()).hexdigest() for each in (run, whole)]
    check(hashes[0] == hashes[1], "best.safetensors has another hash")
    rows = [
        [(row["kind"], row["step"]) for row in read_records(each / "metrics.jsonl")] for each in (run, whole)
    ]
    check(rows[0] == rows[1], f"other rows in metrics.jsonl: {rows}")
    check((run / "report.html").exists(), "there is no report")
    check_no_drafts(run)


# Other commands -------------------------------------------------------------------------------------------------------


def disturbed(
    work: Callable[[], None], folder: Path, rng: random.Random, signum: int, seconds: float
) -> int | None:
    child = Child(work, folder / "log")
    time.sleep(rng.uniform(0, seconds))
    child.end(signum)
    code = child.wait()
    check_ending(code, signum, folder / "log")
    return code


def try_track(place: Place, folder: Path, rng: random.Random, signum: int) -> None:
    def words(out: Path) -> tuple[object, ...]:
        return ("track", place.checkpoint, place.frames, "--min-score=0", f"--model={TINY}", f"--out={out}")

    whole, seconds = place.reference("track", lambda out: finish(command(*words(out / "out")), out / "log"))
    out = folder / "out"
    code = disturbed(command(*words(out)), folder, rng, signum, seconds)
    if code in (130, 143) and "go on with" in (folder / "log").read_text():
        json.loads((out / "posetrack18.json").read_text())
    if (out / "found.jsonl").exists():
        has_frames = (out / "found.jsonl").read_bytes().count(b"\n") > 1
        finish(command(*words(out), "--resume") if has_frames else anew(words(out), out), folder / "log2")
    elif code != 0 and not is_done(out, whole / "out"):
        check(not (out / "posetrack18.json").exists(), "files without a record to go on from")
        finish(anew(words(out), out), folder / "log2")
    check(is_done(out, whole / "out"), "other files than those of a run that was not stopped")
    check_no_drafts(out)


def anew(words: tuple[object, ...], out: Path) -> Callable[[], None]:
    shutil.rmtree(out, ignore_errors=True)
    return command(*words)


def is_done(out: Path, whole: Path) -> bool:
    names = sorted(path.name for path in whole.glob("[!.]*"))
    return sorted(path.name for path in out.glob("[!.]*")) == names and all(
        (out / name).read_bytes() == (whole / name).read_bytes() for name in names
    )


def try_predict(place: Place, folder: Path, rng: random.Random, signum: int) -> None:
    def words(out: Path) -> tuple[object, ...]:
        return ("predict", place.checkpoint, place.frames, "--min-score=0", f"--model={TINY}", f"--out={out}")

    whole, seconds = place.reference("predict", lambda out: finish(command(*words(out / "out")), out / "log"))
    expected = json.loads((whole / "out" / "predictions.json").read_text())["predictions"]
    out = folder / "out"
    code = disturbed(command(*words(out)), folder, rng, signum, seconds)
    rows = found_rows(out)
    check(rows == expected[: len(rows)], "other predictions than those of an undisturbed command")
    pictures = sorted(out.glob("*.jpg"))
    for picture in pictures:
        with Image.open(picture) as image:
            image.load()
    check(len(pictures) <= len(rows), f"{len(pictures)} pictures, but only {len(rows)} predictions")
    if code in (130, 143) and "stopped after" in (text := (folder / "log").read_text()):
        check(f"stopped after {len(rows)} of" in text.replace("\n", " "), f"{len(rows)} rows: {text}")
    if code == 0:
        check(len(rows) == len(expected), "predictions are missing")
    finish(command(*words(out)), folder / "log2")
    check_no_drafts(out)


def found_rows(out: Path) -> list[dict]:
    """Of predictions.json, or of the lines that a killed process left."""
    if (out / "predictions.json").exists():
        return json.loads((out / "predictions.json").read_text())["predictions"]
    lines = out / "predictions.jsonl"
    return (
        [json.loads(line) for line in lines.read_text().splitlines(True) if line.endswith("\n")]
        if lines.exists()
        else []
    )


def try_writing(
    place: Place,
    folder: Path,
    rng: random.Random,
    signum: int,
    *,
    name: str,
    words: Sequence[object],
    read: Callable[[Path], object],
) -> None:
    """A command that writes one file: it is there whole or not at all, and the old one stays until then."""
    verb = str(words[0])

    def work(out: Path) -> Callable[[], None]:
        return command(*words[:2], out / name, *words[2:])

    _, seconds = place.reference(verb, lambda out: finish(work(out), out / "log"))
    code = disturbed(work(folder), folder, rng, signum, seconds)
    file = folder / name
    check(code != 0 or file.exists(), "it ended well without a file")
    if file.exists():
        read(file)
        before = file.read_bytes()
        again = Child(command(*words[:2], file, *words[2:], "--overwrite"), folder / "log2")
        time.sleep(rng.uniform(0, seconds))
        again.end(signal.SIGKILL)
        again.wait()
        read(file)
        check(len(file.read_bytes()) == len(before), "the old file is damaged")
        file.unlink()
    finish(work(folder), folder / "log3")
    read(file)
    check_no_drafts(folder)


def try_export(place: Place, folder: Path, rng: random.Random, signum: int) -> None:
    """Traced once for all trials, which takes longer than all the rest: the command writes and compares."""
    if place.program is None:
        model = load(place.checkpoint, build=tiny)
        place.program = onnx_export.to_onnx(model, model.postprocess.with_limits(min_score=0.01), 18)
        onnx_export.to_onnx = lambda *_, **__: place.program
    words = (
        "export",
        place.checkpoint,
        f"--pictures={place.frames / '000.png'}",
        "--min-score=0.01",
        f"--model={TINY}",
    )

    def read(file: Path) -> None:
        onnx.checker.check_model(str(file))

    try_writing(place, folder, rng, signum, name="model.onnx", words=words, read=read)


def try_convert(place: Place, folder: Path, rng: random.Random, signum: int) -> None:
    def read(file: Path) -> None:
        torch.load(file, weights_only=True)

    words = ("convert", place.convertible, "--to=torchvision")
    try_writing(place, folder, rng, signum, name="model.pth", words=words, read=read)


def try_train2(*trial) -> None:
    try_train(*trial, workers=2)


def try_group(*trial) -> None:
    try_train(*trial, processes=2)


def try_resume(*trial) -> None:
    try_train(*trial, again=3)


TRIALS: dict[str, Callable[..., None]] = {
    "train": try_train,
    "train2": try_train2,
    "group": try_group,
    "resume": try_resume,
    "track": try_track,
    "predict": try_predict,
    "export": try_export,
    "convert": try_convert,
}

# Kills inside writes --------------------------------------------------------------------------------------------------


def write_without_end(folder: Path, seed: int) -> None:
    """Every kind of file again and again; each says which round it is of."""
    pixels = torch.randint(0, 255, (64, 64, 3), dtype=torch.uint8).numpy()
    for number in range(seed, seed + 10_000):
        tensors = {"number": torch.tensor(number), "values": torch.full((200_000,), float(number))}
        save_last(folder, {"at": {"step": number}, "random": random_state(), **tensors})
        save_weights(folder / "best.safetensors", tensors, {"number": number})
        text = json.dumps([number] * 20_000)
        write_atomically(folder / "config.json", lambda draft, text=text: draft.write_text(text))
        write_free(folder / "free.json", lambda draft, text=text: draft.write_text(text))
        write_atomically(folder / "a.png", lambda draft: Image.fromarray(pixels).save(draft, format="PNG"))
        with VideoWriter(folder / "video.mp4", frames_per_second=5) as video:
            video.add(pixels, 0.0)
        with PredictionsFile(folder) as rows:
            for _ in range(20):
                rows.add({"objects": [], "number": number})


def read_all(folder: Path) -> None:
    """Raises where anything that stands under its own name cannot be read."""
    if (folder / "last").exists() and any((folder / "last").glob("[!.]*")):
        said: list[str] = []
        state = load_last(folder, say=said.append)
        check(not said, f"the last state was damaged: {said}")
        check(bool((state["values"] == state["at"]["step"]).all()), "a state of two rounds")
    if (folder / "best.safetensors").exists():
        tensors, card = load_weights(folder / "best.safetensors")
        check(bool((tensors["values"] == card["number"]).all()), "weights of two rounds")
    for file in folder.glob("[!.]*.json"):
        json.loads(file.read_text())
    for file in folder.glob("[!.]*.jsonl"):
        for line in file.read_text().splitlines(True):
            if line.endswith("\n"):
                json.loads(line)
    if (folder / "a.png").exists():
        with Image.open(folder / "a.png") as image:
            image.load()
    if (folder / "video.mp4").exists():
        check(len(list(VideoSource(folder / "video.mp4"))) == 1, "the video lacks its frame")


def kill_inside_writes(count: int, root: Path, seed: int) -> int:
    rng, failures = random.Random(seed), 0
    folder = root / "writes"
    for number in range(count):
        if number % 25 == 0:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        child = Child(lambda start=number: write_without_end(folder, 1 + start), root / "writes.log")
        time.sleep(rng.uniform(0.0, 0.4))
        child.end(signal.SIGKILL)
        child.wait()
        try:
            read_all(folder)
        except Exception as error:
            failures += 1
            print(f"kill {number}: {error!r}", flush=True)
    return failures


# The program ----------------------------------------------------------------------------------------------------------


def run_trials(names: Sequence[str], moments: int, seed: int, root: Path, keep: Path | None) -> int:
    place, counts, failures = Place(root), Counter(), Counter()
    started = time.monotonic()
    for number in range(moments):
        name, signum = names[number % len(names)], SIGNALS[number // len(names) % len(SIGNALS)]
        folder, rng = root / f"trial-{number}", random.Random(f"{seed} {number}")
        folder.mkdir()
        counts[name, signal.Signals(signum).name] += 1
        try:
            TRIALS[name](place, folder, rng, signum)
        except Exception as error:
            failures[name, signal.Signals(signum).name] += 1
            print(f"trial {number}, {name} {signal.Signals(signum).name}: {error}", flush=True)
            if not isinstance(error, Lost):
                traceback.print_exc()
            if keep:
                shutil.copytree(folder, keep / folder.name, dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    for (name, signum), count in sorted(counts.items()):
        print(f"{name:8} {signum:8} {count:4} moments, {failures[name, signum]} lost")
    print(f"{moments} moments, {failures.total()} lost, {time.monotonic() - started:.0f} s")
    return failures.total()


def run(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=0, help="trials of commands, all kinds by turns")
    parser.add_argument("--writes", type=int, default=0, help="kills inside writes")
    parser.add_argument("--only", nargs="+", choices=TRIALS, default=list(TRIALS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where to keep the folders of failed trials")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    curves._to_svg = lambda figure: b"<svg/>"  # to draw takes as long as all the rest of such a run
    with tempfile.TemporaryDirectory(prefix="kills-") as root:
        failures = (
            run_trials(options.only, options.moments, options.seed, Path(root), options.keep)
            if options.moments
            else 0
        )
        if options.writes:
            lost = kill_inside_writes(options.writes, Path(root), options.seed)
            print(f"{options.writes} kills inside writes, {lost} unreadable")
            failures += lost
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(run())
