"""Which pictures a word stands for when many processes look at them, and how each is read."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pagoda.cluster.listing import write_listing
from pagoda.cluster.reading import PlaceReader
from pagoda.cluster.sources import Place, places_of
from pagoda.pictures.read import PictureError
from pagoda.preprocess import InputSpec

SHADES = [10, 90, 200]


def picture(shade):
    buffer = BytesIO()
    Image.fromarray(np.full((6, 9, 3), shade, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def listed(*words):
    said = []
    return list(places_of(map(str, words), said.append)), said


def shades(places):
    """What is read at each place: its name and grey, or why it could not be read."""
    read = PlaceReader(InputSpec(), is_whole=False)
    found = [read(place) for place in places]
    return [str(each) if isinstance(each, PictureError) else int(each.pixels[0, 0, 0]) for each in found]


def names(places):
    read = PlaceReader(InputSpec(), is_whole=False)
    return [read(place).name for place in places]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, shade in zip((10, 9, 1), SHADES, strict=True):
        (folder / f"{number}.png").write_bytes(picture(shade))
    (folder / "notes.md").touch()
    return folder


@pytest.fixture
def table(tmp_path):
    """(columns, rows in each group) to a Parquet file."""
    pyarrow = pytest.importorskip("pyarrow", reason="pip install 'pagoda-vision[scale]'")
    from pyarrow.parquet import write_table

    def write(columns, *, name="some.parquet", row_group_size=2):
        write_table(
            pyarrow.table(columns), tmp_path / name, row_group_size=row_group_size, compression="none"
        )
        return tmp_path / name

    return write


def test_folders_and_patterns_are_as_one_process_finds_them(folder):
    places, said = listed(folder, folder / "*0.png")
    assert [Path(place.file).name for place in places] == ["1.png", "9.png", "10.png", "10.png"]
    assert shades(places) == [200, 90, 10, 10]
    assert said == [f"left out of {folder}: 1 file is no picture by the ending (1 .md)"]


def test_a_list_names_pictures_that_need_not_be_there(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("pictures/9.png\n\n  pictures/gone.png\nhttp://host/a%20b.png\n")
    places, _ = listed("list.txt")
    assert [place.file for place in places] == ["pictures/9.png", "pictures/gone.png", ""]
    assert Path(places[0].at).is_absolute() and places[2].at == "http://host/a%20b.png"
    found = shades(places[:2])
    assert found == [90, "cannot read pictures/gone.png: there is no such file"]
    Path("list.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"list\.txt lists no pictures"):
        listed("list.txt")


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 0, 3, 3, 1)])
def test_rows_of_a_parquet_file_are_pictures_in_any_order(table, order):
    many = [*SHADES, 33, 44]
    path = table({"image": [picture(shade) for shade in many], "file_name": [f"{s}.png" for s in many]})
    places, _ = listed(path)
    assert places == [Place("", str(path), row) for row in range(5)]
    asked = [places[row] for row in order]
    assert shades(asked) == [many[row] for row in order]
    assert names(asked) == [f"{many[row]}.png" for row in order]


def test_structs_of_bytes_and_path_are_pictures_too(table):
    structs = [
        {"bytes": picture(10), "path": "a.png"},
        {"bytes": None, "path": "b.png"},
        None,
        {"bytes": b"no picture", "path": None},
    ]
    path = table({"image": structs, "label": [1, 2, 3, 4]})
    found = shades(listed(path)[0])
    assert found[0] == 10 and names(listed(path)[0][:1]) == ["a.png"]
    assert found[1] == f"cannot read b.png: row 1 of {path} holds no bytes"
    assert found[2] == f"cannot read {path}#2: row 2 of {path} holds no bytes"
    assert found[3].startswith(f"cannot read {path}#3 (row 3 of {path}): ")


def test_several_parquet_files_by_a_pattern(table, tmp_path):
    for name in ("part-10.parquet", "part-9.parquet"):
        table({"image": [picture(10)]}, name=name)
    assert [Path(place.at).name for place in listed(tmp_path / "part-*.parquet")[0]] == [
        "part-9.parquet",
        "part-10.parquet",
    ]


def test_a_parquet_file_without_pictures_is_refused(table, tmp_path):
    path = table({"image": ["a.png"], "size": [3]})
    with pytest.raises(
        ValueError, match=r"needs a column 'image' of the bytes .* has image \(string\), size"
    ):
        listed(path)
    (tmp_path / "no.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"no\.parquet cannot be read as a Parquet file"):
        listed(tmp_path / "no.parquet")
    with pytest.raises(FileNotFoundError, match="there is no Parquet file"):
        listed(tmp_path / "gone.parquet")


def test_a_damaged_parquet_file_loses_its_rows_alone(table):
    path = table({"image": [picture(shade) for shade in SHADES]}, row_group_size=1)
    places, _ = listed(path)
    content = bytearray(path.read_bytes())
    middle = content.find(picture(90))
    content[middle - 12 : middle] = b"\xff" * 12
    path.write_bytes(content)
    found = shades(places)
    assert found[0] == 10 and found[2] == 200 and "row 1 of" in found[1]


def test_stores_give_files_folders_patterns_and_tables(table):
    fsspec = pytest.importorskip("fsspec", reason="pip install 'pagoda-vision[scale]'")
    store = fsspec.filesystem("memory")
    for number, shade in zip((10, 9, 1), SHADES, strict=True):
        store.pipe_file(f"/bucket/{number}.png", picture(shade))
    store.pipe_file("/bucket/notes.md", b"")
    store.pipe_file("/other/rows.parquet", table({"image": [picture(55)]}).read_bytes())
    for word, wanted in (
        ("memory://bucket", [200, 90, 10]),
        ("memory://bucket/*0.png", [10]),
        ("memory://bucket/9.png", [90]),
        ("memory://other/*.parquet", [55]),
        ("memory://other/rows.parquet", [55]),
    ):
        assert shades(listed(word)[0]) == wanted
    gone = Place("memory://bucket/gone.png", "memory://bucket/gone.png")
    assert shades([gone]) == ["cannot read memory://bucket/gone.png: there is no such file"]
    with pytest.raises(FileNotFoundError, match="no pictures at memory://nowhere"):
        listed("memory://nowhere")


def test_files_have_addresses_too(folder):
    pytest.importorskip("fsspec", reason="pip install 'pagoda-vision[scale]'")
    places, _ = listed(f"file://{folder}")
    assert shades(places) == [200, 90, 10] and places[0].file == f"file://{folder}/1.png"


def test_a_store_without_its_package_is_named():
    fsspec = pytest.importorskip("fsspec", reason="pip install 'pagoda-vision[scale]'")
    fsspec.register_implementation("s9", "s9fs.S9", errtxt="Install s9fs", clobber=True)
    with pytest.raises(ImportError, match=r"s9://bucket/a.png cannot be read: Install s9fs .*pip install"):
        listed("s9://bucket/a.png")
    with pytest.raises(ValueError, match="is in no store that fsspec knows"):
        listed("nonsense://bucket/a.png")


def test_the_list_is_told_by_its_digest(folder, tmp_path):
    places, _ = listed(folder)
    one, two = (write_listing(places, tmp_path / f"{number}.jsonl") for number in (1, 2))
    other = write_listing(places[:2], tmp_path / "3.jsonl")
    assert one == two and one.sha256 != other.sha256 and one.num_pictures == 3
