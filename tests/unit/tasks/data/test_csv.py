"""CSV files as Excel, pandas and people write them: read for what they say, or refused with the line."""

import unicodedata

import pytest

from tasks.data import layouts
from tasks.data.layouts._table import read_text
from tasks.data.manifest import build
from tasks.data.settings import PrepareSettings
from tasks.errors import UserError

pytestmark = pytest.mark.quick
ALL_TRAIN = PrepareSettings(val_fraction=0, test_fraction=0)
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.fixture
def table(tmp_path):
    """Writes a table beside the files a.mp4 to d.mp4; text is written in UTF-8."""
    for name in "abcd":
        (tmp_path / f"{name}.mp4").write_bytes(b"x")

    def write(content):
        path = tmp_path / "videos.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def labels(source, **options):
    return [row.label for row in layouts.read("csv", source, **options).rows]


def refusal(source, **options):
    with pytest.raises(UserError) as caught:
        layouts.read("csv", source, **options)
    assert "\n" not in str(caught.value)
    assert "videos.csv" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('path,label\na.mp4, "jump, high"\nb.mp4, "run"\n', ["jump, high", "run"]),
        ('path,label\n"a.mp4"\t,\t"jump"\nb.mp4 ,run \n', ["jump", "run"]),
        ('path,label\na.mp4,"say ""go"""\nb.mp4,""""\n', ['say "go"', '"']),
        ('path,label\na.mp4,"jump\nhigh"\nb.mp4,"a\r\nb"\n', ["jump\nhigh", "a\nb"]),
        ('path,label\na.mp4,"two\twords"\n', ["two\twords"]),
        ("path, label\na.mp4, jump\n", ["jump"]),
        ("Path,LABEL \na.mp4,jump\n", ["jump"]),
        ('"path","label"\n"a.mp4","jump"\n', ["jump"]),
        (b"\xef\xbb\xbfpath,label\r\na.mp4,jump\r\nb.mp4,run\r\n", ["jump", "run"]),
        ("path,label\ra.mp4,jump\rb.mp4,run\r", ["jump", "run"]),
        ("\n\npath,label\n\na.mp4,jump\n  \n,,\nb.mp4,run\n\n", ["jump", "run"]),
        (",path,label\n0,a.mp4,jump\n1,b.mp4,run\n", ["jump", "run"]),
        ("path,label,,\na.mp4,jump,,\n", ["jump"]),
        ("sep=,\npath,label\na.mp4,jump\n", ["jump"]),
        ("path,label\na.mp4,a;b|c\n", ["a;b|c"]),
        ("path,label\na.mp4,$x_1 100%\nb.mp4,\x1b[31m\x0bred\n", ["$x_1 100%", "\x1b[31m\x0bred"]),
        ("path,label,start_s,end_s\na.mp4,jump,1e-05,.5\nb.mp4,run,1.,2\n", ["jump", "run"]),
    ],
)
def test_every_form_of_a_good_table_is_read(table, content, expected):
    assert labels(table(content)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\na.mp4,jump, high\n", "line 2: 3 values in 2 columns; put one that holds a comma in quotes"),
        ("path,label,group\na.mp4,run,P1\nb.mp4,jump, high,P1\n", "line 3: 4 values in 3 columns"),
        ("path,label\n\n\na.mp4\n", "line 4: 1 value in 2 columns; complete the row"),
        ("path,label,\na.mp4,jump, high\n", "line 2: 'high' is in a column without a name"),
        ('path,label\na.mp4,"jump\nb.mp4,run\nc.mp4,run\n', "line 2: a quote is not closed"),
        ('path,label\na.mp4,"jump\n' + "b.mp4,run\n" * 14_000, "line 2: a quote is not closed"),
        ('path,label\na.mp4,"jump\nb.mp4,run\nc.mp4,run"\n', "line 2: a quoted value goes on to line 4 and holds rows"),
        ('path,label,group\na.mp4,"jump,P1\nb.mp4,run",P2\n', "line 2: a quoted value goes on to line 3"),
        ('path,label\na.mp4,"jump\nb.mp4,"run\n', "line 2: a quote stands inside a value"),
        ('path,label\na.mp4,jump\nb.mp4,5" nails\n', "line 3: a quote is not closed"),
        ('path,label\nb.mp4,5" or 6" nails\n', "line 2: a quote stands inside a value"),
        ('path,label\n"a.mp4","b" c "d"\n', "line 2: a quote stands inside a value"),
        ("path,label\na.mp4," + "x" * 140_000 + "\n", "line 2: a value has more than 32767 characters"),
        ("path,label,label\na.mp4,jump,run\n", "has two columns 'label'"),
        ("path,label, Label\na.mp4,jump,run\n", "has two columns 'label'"),
        ("path,label,start s,start_s\na.mp4,jump,1,2\n", "has two columns 'start_s'"),
        ("path;label;start_s\na.mp4;jump;1,5\n", "is separated by semicolons, not by commas: save it as 'CSV UTF-8"),
        ('"path";"label"\n"a.mp4";"jump"\n', "is separated by semicolons"),
        ("sep=;\npath;label\na.mp4;jump\n", "is separated by semicolons"),
        ("path\tlabel\na.mp4\tjump\n", "is separated by tabs"),
        ("path|label\na.mp4|jump\n", "is separated by vertical bars"),
        ("path,label\n".encode("utf-16"), "in UTF-8 but in UTF-16, as Excel's 'Unicode Text' is"),
        ("path,label\na.mp4,jump\n".encode("utf-16-le"), "line 1 holds a NUL byte"),
        (b"path,label\na.mp4,jump\nb.mp4,r\x00n\n", "line 3 holds a NUL byte"),
        ("path,label\r\na.mp4,caf\u00e9\r\n".encode("latin-1"), "line 2 holds the byte 0xe9; save it as 'CSV UTF-8'"),
        (b"PK\x03\x04\x14\x00", "is not a CSV file but an archive, as an Excel workbook is"),
        ("path,label\n", "has no rows"),
        ("\n\n", "has no column 'path'"),
        ("a.mp4,jump\n", "has no column 'path'; it has 'a.mp4', 'jump': its first line must name path and label"),
        ("file,class\na.mp4,jump\n", "has no column 'path'; did you mean 'file'? its first line must"),
        ("path,class\na.mp4,jump\n", "has no column 'label'; did you mean 'class'?"),
        ("path,label,grup\na.mp4,x,1\n", "has an unknown column 'grup'; did you mean 'group'?"),
        ("path,label,start,end\na.mp4,x,1,2\n", "has an unknown column 'start'; did you mean 'start_s'?"),
        ('path,label,start_s\na.mp4,x,"1,5"\n', "start_s must be a number of seconds, with a decimal point, not '1,5'"),
        ("path,label,start_s\na.mp4,x,-1\n", "line 2: start_s must be a number of seconds, not '-1'"),
        ("path,label,end_s\na.mp4,x,1e999\n", "line 2: end_s must be a number of seconds, not '1e999'"),
        ("path,label,end_s\na.mp4,x,inf\n", "line 2: end_s must be a number of seconds, not 'inf'"),
        ("path,label,end_s\na.mp4,x,1_0\n", "line 2: end_s must be a number of seconds, not '1_0'"),
        ("path,label,end_s\na.mp4,x,0:30\n", "line 2: end_s must be a number of seconds, not '0:30'"),
        ("path,label,end_s\na.mp4,x,0\n", "line 2: end_s must be after start_s 0, not 0"),
        ("path,label,start_s,end_s\na.mp4,x,1,2\nb.mp4,x,2,2\n", "line 3: end_s must be after start_s 2, not 2"),
    ],
)
def test_what_is_not_clear_is_refused_with_its_line(table, content, message):
    assert message in refusal(table(content))


def test_columns_that_are_not_known_are_named_and_ignored(table):
    source = table("path,label,Person,caption\na.mp4,jump,P1,x\nb.mp4,jump,,y\n")
    listing = layouts.read("csv", source)
    assert listing.notes == [
        f"ignored columns of {source}: 'Person', 'caption' (--group-column NAME takes one as the group)"
    ]
    assert [row.group for row in listing.rows] == [None, None]


@pytest.mark.parametrize("name", ["Person ID", " person-id"])
def test_a_column_of_any_name_holds_the_groups(table, name):
    source = table("path,label,group,Person ID,caption\na.mp4,jump,x,P1,y\nb.mp4,jump,x,,y\n")
    listing = layouts.read("csv", source, group_column=name)
    assert [row.group for row in listing.rows] == ["P1", None]
    assert "'group', 'caption'" in listing.notes[0]
    assert "has no column 'Persn ID'; did you mean 'Person ID'?" in refusal(source, group_column="Persn ID")


def test_groups_from_a_column_need_a_table(tmp_path):
    (tmp_path / "jump").mkdir()
    (tmp_path / "jump" / "1.mp4").touch()
    with pytest.raises(UserError, match="layout folder has no columns to take groups from"):
        layouts.read("folder", str(tmp_path), group_column="person")


@pytest.mark.parametrize(("on_disk", "listed"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_a_file_is_found_by_either_form_of_its_name(table, tmp_path, on_disk, listed):
    (tmp_path / on_disk).mkdir()
    (tmp_path / on_disk / f"{on_disk}.mp4").write_bytes(b"x")
    (row,) = layouts.read("csv", table(f"path,label\n{listed}/{listed}.mp4,jump\n"), f"({listed})").rows
    assert row.uri == str(tmp_path / on_disk / f"{on_disk}.mp4")
    assert row.video_id == f"{COMPOSED}%2F{COMPOSED}"
    assert row.group == COMPOSED


def test_two_files_whose_names_differ_in_form_alone(table, tmp_path):
    for name in (COMPOSED, DECOMPOSED):
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
    listing = layouts.read("csv", table(f"path,label\n{COMPOSED}.mp4,jump\n{DECOMPOSED}.mp4,jump\n"))
    with pytest.raises(UserError, match="two videos have the same id"):
        build(listing, ALL_TRAIN)
    other = "e\u0323\u0301"  # neither: its composed form is \u1eb9\u0301
    for form in ("NFC", "NFD"):
        (tmp_path / f"{unicodedata.normalize(form, other)}.mp4").write_bytes(b"x")
    assert "line 2: " in (message := refusal(table("path,label\n\u00e9\u0323.mp4,jump\n")))
    assert " may be " in message


def test_labels_groups_and_splits_in_either_form_are_one(table):
    source = table(
        f"path,label,group,split{DECOMPOSED}\na.mp4,{COMPOSED},{DECOMPOSED},train\nb.mp4,{DECOMPOSED},{COMPOSED},train\n"
    )
    manifest, splits = build(layouts.read("csv", source), ALL_TRAIN)
    assert set(manifest["label"].to_pylist()) == set(manifest["group"].to_pylist()) == {COMPOSED}
    assert set(splits["split"].to_pylist()) == {f"split{COMPOSED}"}


def test_two_videos_of_one_stem_keep_their_endings(table, tmp_path):
    (tmp_path / "a.avi").write_bytes(b"x")
    source = table("path,label,start_s\na.mp4,jump,\na.avi,jump,1\nb.mp4,jump,\n")
    assert [row.video_id for row in layouts.read("csv", source).rows] == ["a%2Emp4", "a%2Eavi@1000-", "b"]


def test_a_table_that_cannot_be_read(table, tmp_path):
    assert "does not exist" in refusal(str(tmp_path / "other_videos.csv"))
    (tmp_path / "folder_videos.csv").mkdir()
    assert "is not a CSV file" in refusal(str(tmp_path / "folder_videos.csv"))
    with pytest.raises(UserError, match="is not a table of at most 1 MB"):
        read_text(table("path,label\n" + "a.mp4,jump\n" * 100_000), "a table", limit=1 << 20)
