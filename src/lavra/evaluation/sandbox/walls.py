"""Namespaces around a program, without bubblewrap: it sees Python's files, an empty folder, itself, and no network.

Runs alone, with the standard library, in a process that becomes the outer end: ``walls.py SETTINGS COMMAND …``. What
bubblewrap does is done here in the same order: new user, mount, process, network, IPC and host name namespaces
(namespaces(7)); a new root in memory onto which the readable files are bound, read-only; ``pivot_root``; and the old
root let go. In the new process namespace the first process only waits, so whatever was left running ends with it.
Started by root, the program is nobody: then limits on processes hold for it too.

Any step that fails ends in status 97: the outside takes it for a wall that cannot be built here.
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import sys
from typing import Any

_NEW = 0x00020000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000
"""CLONE_NEWNS, NEWUSER, NEWPID, NEWNET, NEWIPC, NEWUTS."""
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_PROGRAMS, _REMOUNT, _BIND, _DETACH = 1, 2, 4, 8, 32, 4096, 2
_RECURSIVE, _PRIVATE = 16384, 1 << 18
_INSIDE, _NOBODY = 1000, 65534
_DEVICES = ("/dev/null", "/dev/urandom", "/dev/zero")
FAILED = 97


class Kernel:
    """The calls that Python has no names for; each raises OSError."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)

    def __call__(self, name: str, *arguments: Any) -> None:
        if getattr(self.libc, name)(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{name}: {os.strerror(number)}")

    def mount(self, source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
        encoded = [None if text is None else text.encode() for text in (source, target, kind, options)]
        self("mount", encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])

    def die_with_parent(self) -> None:
        self("prctl", 1, 9, 0, 0, 0)


def main() -> None:
    settings, command = json.loads(sys.argv[1]), sys.argv[2:]
    kernel = Kernel()
    try:
        handles = enter(kernel, settings["readable"])
        kernel.die_with_parent()
        first = os.fork()
        if first == 0:
            kernel.die_with_parent()
            build(kernel, settings, handles)
            second = os.fork()
            if second == 0:
                os.chdir("/work")
                os.execve(command[0], command, {})
            _leave_like(second)
        _leave_like(first)
    except OSError as error:
        print(error, file=sys.stderr)
        os._exit(FAILED)


def enter(kernel: Kernel, readable: list[str]) -> dict[str, int]:
    """New namespaces, in which this user is an ordinary one with all rights over them until it runs a program.

    Returns handles of ``readable``, opened in the new namespace by whom they belong to: nobody may not walk to them.
    """
    user, group = os.geteuid(), os.getegid()
    outside = (_NOBODY, _NOBODY) if user == 0 else (user, group)
    this, ready, done = os.getpid(), os.pipe(), os.pipe()
    helper = os.fork()  # root's map to nobody is written from outside; anybody may write that to themselves
    if helper == 0:
        try:
            os.read(ready[0], 1)
            for name, text in (
                *((("setgroups", "deny"),) if user else ()),
                ("uid_map", f"{_INSIDE} {outside[0]} 1"),
                ("gid_map", f"{_INSIDE} {outside[1]} 1"),
            ):
                with open(f"/proc/{this}/{name}", "w") as file:
                    file.write(text)
            os.write(done[1], b"1")
        finally:
            os._exit(0)
    os.close(done[1])
    kernel("unshare", _NEW)
    os.write(ready[1], b"1")
    handles = {}
    for path in (*readable, *_DEVICES):
        if os.path.exists(path):
            handles[path] = os.open(path, os.O_PATH)
    if os.read(done[0], 1) != b"1":
        raise OSError("the user namespace got no map")
    os.waitpid(helper, 0)
    if user == 0:
        os.setgroups([])
        os.setresgid(_INSIDE, _INSIDE, _INSIDE)
        os.setresuid(_INSIDE, _INSIDE, _INSIDE)
    return handles


def build(kernel: Kernel, settings: dict[str, Any], handles: dict[str, int]) -> None:
    """The new root at ``work``, an empty folder of the one that this runs in.

    Only that name is used: nobody may not walk to folders below one of root's.
    """
    root = "work"
    kernel.mount("none", "/", None, _RECURSIVE | _PRIVATE)
    kernel.mount("tmpfs", root, "tmpfs", _NO_SUID | _NO_DEVICES, "size=1m,mode=0755")
    for path, handle in handles.items():
        _bind(kernel, path, handle, root + path)
    os.makedirs(f"{root}/work")
    kernel.mount("tmpfs", f"{root}/work", "tmpfs", _NO_SUID | _NO_DEVICES, f"size={settings['folder']}m,mode=0700")
    os.makedirs(f"{root}/.old")
    kernel("pivot_root", root.encode(), f"{root}/.old".encode())
    os.chdir("/")
    kernel("umount2", b"/.old", _DETACH)
    os.rmdir("/.old")
    kernel.mount("none", "/", None, _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | _NO_DEVICES)


def _bind(kernel: Kernel, path: str, handle: int, target: str) -> None:
    """The same file or directory, which cannot be changed from here; what its own mount forbids stays forbidden."""
    if stat.S_ISDIR(os.fstat(handle).st_mode):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    kernel.mount(f"/proc/self/fd/{handle}", target, None, _BIND | _RECURSIVE)
    if path not in _DEVICES:
        kept = os.statvfs(target).f_flag & (_NO_SUID | _NO_DEVICES | _NO_PROGRAMS)
        kernel.mount("none", target, None, _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | kept)


def _leave_like(process: int) -> None:
    status = os.waitpid(process, 0)[1]
    number = os.waitstatus_to_exitcode(status)
    os._exit(number if number >= 0 else 128 - number)


if __name__ == "__main__":
    main()
