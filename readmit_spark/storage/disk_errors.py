"""One-line explanations of a disk that is full or that this user must not write to."""

from __future__ import annotations

import errno
import re

# errno, its text in exceptions of Java, what is wrong, what to do.
_FAILURES = (
    (errno.ENOSPC, "No space left on device", "the disk is full", "free space on it"),
    (errno.EDQUOT, "Disk quota exceeded", "your disk quota is used up", "free space on it"),
    (errno.EROFS, "Read-only file system", "the disk is read-only", "mount it for writing"),
    (errno.EACCES, r"\(Permission denied\)", "permission is denied", "give this user permission"),
)


def find_disk_failure(error: BaseException) -> str | None:
    """Explain an exception that a disk caused; return None for any other exception."""
    for number, text, wrong, mend in _FAILURES:
        if isinstance(error, OSError) and error.errno == number:
            where = f"{error.filename}: " if error.filename else ""
        elif not isinstance(error, OSError) and re.search(text, str(error)):
            where = ""
        else:
            continue
        return f"{where}{wrong}: {mend}, or choose another folder, and run the job again"
    return None
