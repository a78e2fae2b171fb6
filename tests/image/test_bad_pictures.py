"""Files that are no pictures, or strange ones: skipped, counted and named, never a crash; good ones read right."""

import io
import os
import random
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from unnoise.errors import UserError
from unnoise.folders import UnreadableError
from unnoise_image.data.folder import Folder
from unnoise_image.files import endings, picture_files, read_picture, read_pictures

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)


def encoded(image=None, kind="PNG", **options):
    buffer = io.BytesIO()
    (image or Image.fromarray(COLOUR)).save(buffer, kind, **options)
    return buffer.getvalue()


def png(width, height, data=b"", extra=b""):
    """A PNG file that claims a size, with all checksums right."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    end = chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + (chunk(b"zTXt", extra) if extra else b"") + end


BAD = {
    "empty.png": (b"", "it is empty"),
    "text.png": (b"hello", "it is no picture"),
    "program.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "it is no picture"),
    "bomb.png": (png(50_000, 50_000), "pixels are too many"),
    "large.png": (png(12_000, 12_000), "12000 x 12000 pixels are too many"),
    "hollow.png": (png(9_000, 9_000), "truncated"),
    "swollen.png": (png(4, 4, bytes(52), b"key\0\0" + zlib.compress(bytes(1 << 26))), "too large"),
    "cut.png": (encoded()[:300], "truncated"),
    "cut.jpg": (encoded(kind="JPEG")[:-200], "truncated"),
    "float.tif": (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "not of 8 or 16 bits"),
    "wide.tif": (encoded(Image.fromarray(np.full((4, 4), 99_999, np.int32)), "TIFF"), "not of 8 or 16 bits"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_say_why_and_soon(tmp_path, name):
    content, reason = BAD[name]
    (tmp_path / name).write_bytes(content)
    started = time.process_time()
    with pytest.raises(UnreadableError, match=reason):
        read_picture(tmp_path / name, 16, 3)
    assert time.process_time() - started < 3
    with pytest.raises(UserError, match=reason):
        read_pictures(tmp_path)


def frames():
    return [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]


def animation(kind, **options):
    first, *others = frames()
    return encoded(first, kind, save_all=True, append_images=others, **options)


@pytest.mark.parametrize(
    ("name", "content", "expected", "tolerance"),
    [
        ("png_called.jpg", encoded(), COLOUR, 0),
        ("film.png", animation("PNG"), COLOUR, 0),
        ("film.webp", animation("WEBP", lossless=True), COLOUR, 0),
        ("print.tif", encoded(Image.fromarray(COLOUR).convert("CMYK"), "TIFF"), COLOUR, 0),
        ("grey16.png", encoded(Image.fromarray(COLOUR[..., 0].astype(np.uint16) * 257)), COLOUR[..., [0, 0, 0]], 0),
        ("grey16.tif", encoded(Image.fromarray(COLOUR[..., 0].astype("u2") * 257), "TIFF"), COLOUR[..., [0, 0, 0]], 0),
        ("palette.png", encoded(Image.fromarray(COLOUR // 64 * 85).quantize(64)), COLOUR // 64 * 85, 0),
        ("half.png", encoded(Image.new("LA", (32, 24), (100, 51))), np.full_like(COLOUR, 224), 1),
        ("clear.png", encoded(Image.fromarray(COLOUR // 64 * 85).quantize(64), transparency=bytes(256)),
         np.full_like(COLOUR, 255), 0),
        ("bits.png", encoded(Image.fromarray(COLOUR[..., 0] > 99)), np.where(COLOUR[..., [0, 0, 0]] > 99, 255, 0), 0),
    ],
)  # fmt: skip
def test_strange_but_good_files_are_read_right(tmp_path, name, content, expected, tolerance):
    (tmp_path / name).write_bytes(content)
    item = read_picture(tmp_path / name, channels=3)
    assert item.dtype == np.uint8
    assert np.abs(item.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_damaged_files_are_read_or_refused(tmp_path, kind):
    good, draw = encoded(kind=kind), random.Random(kind)
    for number in range(60):
        damaged = bytearray(good)
        for _ in range(draw.choice((1, 3, 20))):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        file = tmp_path / f"{number}.png"
        file.write_bytes(bytes(damaged[: draw.choice((len(damaged), draw.randrange(len(damaged))))]))
        try:
            assert read_picture(file, 16, 3).shape == (16, 16, 3)
        except UnreadableError as error:
            assert str(error)


@pytest.fixture
def messy(tmp_path):
    """Good pictures among everything that a folder may hold."""
    for place in ("cat", "ünï cödé 猫", ".hidden", "cat/nothing", "dog.png"):
        (tmp_path / place).mkdir()
    for name in ("cat/a b.png", "ünï cödé 猫/☃.JPG", ".hidden/x.png", "cat/.x.png", "preview.png", "dog.png/1.png"):
        (tmp_path / name).write_bytes(encoded())
    (tmp_path / "cat/loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a_link").symlink_to(tmp_path / "cat", target_is_directory=True)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "cat/pipe.png")
    (tmp_path / "cat/text.png").write_text("hello")
    (tmp_path / "cat/notes.txt").write_text("hello")
    (tmp_path / "cat/two\nlines.png").write_text("hello")
    return tmp_path


def test_a_messy_folder_is_read_once_through_with_one_note(messy):
    data = Folder("train", root=str(messy), size=8, test_fraction=0)
    assert len(data) == 3
    assert data.columns()["class"].names == ("cat", "dog.png", "ünï cödé 猫")
    assert data.columns()["class"].values.tolist() == [0, 1, 2]
    assert data.notes() == [
        "folder: skipped 2 of 5 pictures of the train split: cat/text.png (it is no picture), "
        "cat/two\N{REPLACEMENT CHARACTER}lines.png (it is no picture)"
    ]


def test_links_to_elsewhere_are_followed(messy, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "1.png").write_bytes(encoded())
    (messy / "linked").symlink_to(elsewhere, target_is_directory=True)
    assert messy / "linked/1.png" in picture_files(messy)[0]
    assert messy / "cat/a b.png" in picture_files(messy)[0]


def test_names_that_are_no_text(tmp_path):
    try:
        folder = tmp_path / os.fsdecode(b"odd\xff")
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes text only")
    (folder / "good.png").write_bytes(encoded())
    (folder / os.fsdecode(b"bad\xfe.png")).write_bytes(b"x")
    data = Folder("train", root=str(tmp_path), size=8, test_fraction=0)
    assert len(data) == 1
    "".join([*data.notes(), *data.columns()["class"].names]).encode()  # text, that is


def test_a_folder_that_cannot_be_opened_is_counted(messy, monkeypatch):
    real = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("cat"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    data = Folder("train", root=str(messy), size=8, test_fraction=0)
    assert len(data) == 2
    assert data.notes() == ["folder: skipped 1 sub-folders that cannot be opened: cat"]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, "found 0 pictures, 0 of them of the train split"),
        ({"a.txt": b"x"}, "found 0 pictures"),
        (
            {"a.png": b"", "b.png": b"x"},
            r"found 2 pictures, 2 .*; folder: skipped 2 of 2 .*: a.png \(it is empty\), b.png",
        ),
    ],
)
def test_an_empty_data_set_is_an_error_that_says_what_was_found_and_what_is_read(tmp_path, files, found):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=found) as caught:
        Folder("train", root=str(tmp_path), test_fraction=0)
    assert ".jpg" in caught.value.fix and ".eps" not in caught.value.fix
    assert {".png", ".jpeg", ".webp"} <= endings()


def test_one_picture_is_a_data_set_of_one_split(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded())
    sizes = []
    for split in ("train", "test"):
        try:
            sizes.append(len(Folder(split, root=str(tmp_path), size=8)))
        except UserError as error:
            assert "found 1 pictures, 0 of them" in error.message
            sizes.append(0)
    assert sorted(sizes) == [0, 1]


@pytest.mark.parametrize("options", [{"size": 0}, {"size": -3}, {"test_fraction": 1.0}, {"test_fraction": -0.1}])
def test_options_out_of_range(tmp_path, options):
    with pytest.raises(UserError, match=r"size=.* and data\.test_fraction="):
        Folder("train", root=str(tmp_path), **options)


def test_a_table_whose_rows_name_nothing(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded())
    table = tmp_path / "labels.csv"
    table.write_text('file,class,note\r\na.png,x,"two\nlines"\r\nb.png,y\r\nc.png,z,1,2\r\n', encoding="utf-8-sig")
    data = Folder("train", root=str(tmp_path), size=8, test_fraction=0)
    assert data.notes() == ["folder: 2 of 3 rows of the table name a picture that is not there: b.png, c.png"]
    assert list(data.columns()) == ["class", "note"]
    assert data.columns()["class"].names == ("x", "y", "z")
    table.write_text("file,class\nsub/a.png,x\n")
    with pytest.raises(UserError, match=r"1 of 1 rows of the table name a picture that is not there: sub/a\.png"):
        Folder("train", root=str(tmp_path), size=8, test_fraction=0)
    table.write_text("file,class\n")
    assert Folder("train", root=str(tmp_path), size=8, test_fraction=0).columns() == {}
    (tmp_path / "labels.jsonl").write_text('{"file": 7}\n')
    with pytest.raises(UserError, match="row 1 has no 'file'"):
        Folder("train", root=str(tmp_path), table="labels.jsonl", test_fraction=0)
