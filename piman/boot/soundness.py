# -*- test-case-name: tests.test_boot_soundness -*-
"""
Whether a file can be a root file system: a gzipped tar archive that is there to its last byte.

Nodes unpack with ``gunzip | tar -x``.  The head tells what it is; that it is whole is proved by reading it to its end,
where gzip has the checksum and the length of the content (RFC 1952, section 2.3.1).
"""

import gzip
import tarfile
import zlib
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def head_trouble(path: Path) -> str:
    """
    What is wrong with the beginning of an image; empty: nothing.

    :raises OSError: when it cannot be read.
    """
    if not path.is_file():
        return "it is not there" if not path.exists() else "it is no regular file"
    if path.stat().st_size == 0:
        return "it is empty"
    try:
        with tarfile.open(path, "r|gz") as archive:
            return "" if archive.next() else "there is nothing in it"
    except (tarfile.ReadError, tarfile.CompressionError) as reason:
        return f"it is no gzipped tar archive ({reason})"
    except (EOFError, zlib.error) as reason:
        return f"it is damaged ({reason})"


def trouble(path: Path) -> str:
    """
    What is wrong with an image, read to its end: seconds for a large one; empty: nothing.

    :raises OSError: when it cannot be read.
    """
    found = head_trouble(path)
    if found:
        return found
    try:
        with gzip.open(path) as content:
            while content.read(_CHUNK_BYTES):
                pass
    except EOFError:
        return f"it is cut off: it ends after {path.stat().st_size} bytes, in the middle of its content"
    except (gzip.BadGzipFile, zlib.error) as reason:
        return f"it is damaged ({reason})"
    return ""
