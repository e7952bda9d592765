"""Packed files and text encodings: .gz and .zip with one file, guarded against bombs; UTF-8, UTF-16 and Latin text."""

import codecs
import gzip
import io
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import DatasetError

MAX_UNPACKED = 4 * 2**30  # bytes
MAX_RATIO = 200  # unpacked bytes for one packed byte, looked at past 64 MiB
SAMPLE_BYTES = 1 << 20


def open_unpacked(path: Path, notes: list[str]) -> tuple[io.BufferedReader, str]:
    """The bytes of a file, unpacked where it is a .gz or a .zip with one data file, and the name of what is inside.

    Raises DatasetError for an archive that is broken, protected, holds several files, or unpacks to too much.
    """
    file = path.open("rb")
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        inner: BinaryIO = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
        return _guarded(inner, path.name, path.stat().st_size), path.name.removesuffix(".gz")
    if magic == b"PK\x03\x04" or magic == b"PK\x05\x06":
        file.close()
        return _open_zip(path)
    return file, path.name


def text_encoding(stream: io.BufferedReader, name: str, notes: list[str]) -> str:
    """The encoding of a text, from its byte-order mark or its first MiB; says in `notes` when it is not UTF-8."""
    head = stream.peek(SAMPLE_BYTES)[:SAMPLE_BYTES]
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)) and not head.startswith(b"\xff\xfe\x00\x00\x00"):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        notes.append(f"{name!r} is UTF-16 text and was read as such.")
        return "utf-16"
    pairs = len(head) // 2 or 1
    for encoding, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
        if zeros.count(0) > 0.4 * pairs and head.count(0) < 0.6 * len(head):
            notes.append(f"{name!r} looks like UTF-16 text without a mark and was read as such.")
            return encoding
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(head, final=False)
        return "utf-8"
    except UnicodeDecodeError:
        notes.append(f"{name!r} is not UTF-8; it was read as Windows-1252 (Latin). If accents look wrong, "
                     "save it as UTF-8.")
        return "cp1252"


# ------------------------------------------------------------------------------------------------------------------


class _Guard(io.RawIOBase):
    """Counts unpacked bytes and stops a bomb; turns a broken archive into words."""

    def __init__(self, inner: BinaryIO, name: str, packed: int) -> None:
        self._inner, self._name, self._packed, self._count = inner, name, max(packed, 1), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        try:
            data = self._inner.read(len(buffer))
        except (EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
            raise DatasetError(f"The packed file {self._name!r} is damaged or was cut off ({error}). "
                               "Upload it again, or upload it unpacked.") from error
        except (RuntimeError, NotImplementedError) as error:
            raise DatasetError(f"The archive {self._name!r} cannot be opened ({error}). Upload it unpacked.") from error
        self._count += len(data)
        if self._count > MAX_UNPACKED or (self._count > 64 * 2**20 and self._count > MAX_RATIO * self._packed):
            raise DatasetError(f"The packed file {self._name!r} unpacks to far more than it should "
                               f"({self._count / 2**20:.0f} MiB and counting): it was not read on. Upload it unpacked.")
        buffer[: len(data)] = data
        return len(data)


def _guarded(inner: BinaryIO, name: str, packed: int) -> io.BufferedReader:
    return io.BufferedReader(_Guard(inner, name, packed), buffer_size=1 << 20)


def _open_zip(path: Path) -> tuple[io.BufferedReader, str]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DatasetError(f"The archive {path.name!r} is damaged or was cut off ({error}). "
                           "Upload it again.") from error
    files = [i for i in archive.infolist() if not i.is_dir() and "__MACOSX" not in i.filename
             and not Path(i.filename).name.startswith(".")]
    names = {i.filename for i in files}
    if "[Content_Types].xml" in names:
        raise DatasetError(f"The file {path.name!r} is an Excel or Word file. In Excel, use File > Save as > "
                           "CSV UTF-8.")
    if len(files) != 1:
        held = ", ".join(sorted(names)[:5]) or "nothing"
        raise DatasetError(f"The archive {path.name!r} holds {len(files)} files ({held}). "
                           "Upload the one that you mean.")
    if files[0].file_size > MAX_UNPACKED:
        raise DatasetError(f"The archive {path.name!r} unpacks to {files[0].file_size / 2**30:.1f} GiB; at most "
                           f"{MAX_UNPACKED // 2**30} GiB are read. Upload a part of it.")
    try:
        inner = archive.open(files[0])
    except (RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DatasetError(f"The archive {path.name!r} cannot be opened ({error}). Upload it unpacked.") from error
    return _guarded(inner, path.name, files[0].compress_size), Path(files[0].filename).name  # type: ignore[arg-type]
