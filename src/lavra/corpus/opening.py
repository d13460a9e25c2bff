"""Opening files that nobody vouches for: regular files only, whatever their names have become since."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def open_file(path: Path) -> int:
    """Open a regular file for reading and return its descriptor; never a link, a pipe or a device.

    The check is made on what was opened, so that a file swapped after the walk gains nothing. Raises OSError.
    """
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor
