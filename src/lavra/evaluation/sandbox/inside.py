"""Inside the sandbox: limits, the program, its tests, the verdict. Runs alone, with the standard library.

The order is what makes it safe: nothing of the program is looked at before all limits are in force, and none of them
can be lifted again. The verdict goes out through a pipe of its own behind a secret that came in by standard input,
which is closed by then: a program that leaves before its tests (``sys.exit(0)``, ``os._exit(0)``) or prints what looks
like success has not passed. What is not kept out is a program made to deceive its judge, such as one that searches the
interpreter's frames for the secret or returns an object that equals everything: both run in one process, as in the
published evaluation.

A filter of system calls (seccomp) takes from the process what no exercise needs: other programs and processes, sockets,
signals to others, tracing, mounts. Landlock takes the files away where no namespace has done it. Both ask no
privilege; both are Linux's. What could not be had is told to the outside, which decides.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

# By the numbers of the architecture's system call table (linux/include/uapi/asm-generic/unistd.h, arch/x86/entry/
# syscalls/syscall_64.tbl): what starts or reaches other processes, talks to networks, or changes the machine.
_CALLS = {
    "x86_64": (
        0xC000003E,
        "41 42 49 53 "  # socket connect bind socketpair
        "56 57 58 435 59 322 "  # clone fork vfork clone3 execve execveat
        "62 200 234 129 297 424 434 438 "  # kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_*
        "101 310 311 "  # ptrace process_vm_readv process_vm_writev
        "155 161 165 166 272 308 428 429 430 442 "  # pivot_root chroot mount umount2 unshare setns open_tree … setattr
        "160 302 141 203 135 "  # setrlimit prlimit64 setpriority sched_setaffinity personality
        "29 64 68 240 248 249 250 298 321 323 425 "  # shmget semget msgget mq_open keys perf bpf userfaultfd io_uring
        "76 90 268 452 92 94 260 132 235 280 261 188 189 197 198",  # truncate, modes, owners, times, attributes by path
    ),
    "aarch64": (
        0xC00000B7,
        "198 203 200 199 "
        "220 435 221 281 "
        "129 130 131 138 240 424 434 438 "
        "117 270 271 "
        "41 51 40 39 97 268 428 429 430 442 "
        "164 261 140 122 92 "
        "194 190 186 180 217 218 219 241 280 282 425 "
        "45 53 452 54 88 5 6 14 15",
    ),
}
_REFUSED = 0x00050000 | 1
"""SECCOMP_RET_ERRNO with EPERM."""


def limit(given: dict[str, Any]) -> dict[str, bool]:
    """All limits on this process, for good; which of those that need a kernel's help there are."""
    import resource

    megabyte = 2**20
    wanted = {
        "RLIMIT_CPU": given["cpu_seconds"],
        "RLIMIT_AS": given["memory"] * megabyte,
        "RLIMIT_FSIZE": given["file"] * megabyte,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": given["processes"],
    }
    for name, value in wanted.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (AttributeError, ValueError, OSError):  # not on this system, or above what is allowed already
            if name in ("RLIMIT_CPU", "RLIMIT_FSIZE"):
                raise
    if not sys.platform.startswith("linux"):
        return {"calls": False, "files": False}
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG: what started this is gone, so is this
    if libc.prctl(38, 1, 0, 0, 0) != 0:  # PR_SET_NO_NEW_PRIVS
        return {"calls": False, "files": False}
    files = bool(given["landlock"]) and _landlock(libc, given["readable"], given["folder"])
    return {"files": files, "calls": bool(given["filter"]) and _filter_calls(libc)}


def _filter_calls(libc: Any) -> bool:
    """Every call of ``_CALLS`` fails with EPERM from now on; others of another architecture's table too."""
    import ctypes
    import platform
    import struct

    known = _CALLS.get(platform.machine())
    if known is None or sys.maxsize < 2**32:
        return False
    architecture, numbers = known[0], [int(number) for number in known[1].split()]
    load, equal, above, give = 0x20, 0x15, 0x35, 0x06  # BPF_LD|W|ABS, JMP|JEQ|K, JMP|JGE|K, RET|K
    count = len(numbers)
    lines = [
        (load, 0, 0, 4),  # the architecture
        (equal, 0, count + 3, architecture),
        (load, 0, 0, 0),  # the call's number
        (above, count + 1, 0, 0x40000000),  # x86's other table
        *((equal, count - place, 0, number) for place, number in enumerate(numbers)),
        (give, 0, 0, 0x7FFF0000),
        (give, 0, 0, _REFUSED),
    ]
    code = b"".join(struct.pack("HBBI", *line) for line in lines)
    held = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    program = Program(len(lines), ctypes.addressof(held))
    return bool(libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def _landlock(libc: Any, readable: list[str], folder: str) -> bool:
    """Of all files only ``readable`` can be read, and only ``folder`` be written (Linux 5.13, security/landlock)."""
    import ctypes
    import struct

    create, add, restrict, read = 444, 445, 446, 0b1101
    version = libc.syscall(create, None, 0, 1)
    everything = (1 << {1: 13, 2: 14}.get(version, 15)) - 1
    attributes = ctypes.create_string_buffer(struct.pack("Q", everything))
    rules = libc.syscall(create, attributes, 8, 0) if version > 0 else -1
    if rules < 0:
        return False
    for path, allowed in (*((path, read) for path in readable), (folder, everything)):
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        if not os.path.isdir(path):
            allowed &= 0b111
        rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, handle))
        failed = libc.syscall(add, rules, 1, rule, 0) != 0
        os.close(handle)
        if failed:
            return False
    done = libc.syscall(restrict, rules, 0) == 0
    os.close(rules)
    return bool(done)


def run(program: str, tests: str) -> str:
    """What went wrong, or nothing."""
    names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    try:
        checks = compile(tests, "<tests>", "exec")
        exec(compile(program, "<program>", "exec"), names)
        exec(checks, names)
    except SystemExit:
        return "it left before its tests were done"
    except BaseException as error:
        try:
            return f"{type(error).__name__}: {error}"[:500]
        except BaseException:
            return "an exception that cannot be said"
    return ""


def main() -> None:
    """The pipe's number is the argument; what is to run comes by standard input, which has nothing more afterwards."""
    given = json.loads(sys.stdin.buffer.read())
    pipe, secret = int(sys.argv[1]), given.pop("secret")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(given["folder"])
    said = {"secret": secret, **limit(given)}
    said["error"] = run(given.pop("program"), given.pop("tests"))
    os.write(pipe, json.dumps(said).encode())
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
