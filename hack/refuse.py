"""Run a program to which the kernel refuses a system call, by seccomp: ``python -m hack.refuse flock ENOLCK PROGRAM …``.

For tests of what a machine may lack: locks (flock), user namespaces (unshare). Needs no rights; the program's children are
refused the same.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

NUMBERS = {
    "flock": {"x86_64": 73, "aarch64": 32},
    "unshare": {"x86_64": 272, "aarch64": 97},
}
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD_NUMBER = (0x20, 0, 0, 0)
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def refuse(call: str, answer: int) -> None:
    """Have a system call answered with an errno in this process and its children. Raises OSError without seccomp."""
    instructions = (
        _LOAD_NUMBER,
        (0x15, 0, 1, NUMBERS[call][platform.machine()]),
        (0x06, 0, 0, _ERRNO | answer),
        (0x06, 0, 0, _ALLOW),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *x) for x in instructions))
    program = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _MODE_FILTER, program
    ):
        raise OSError(ctypes.get_errno(), "seccomp is not to be had")


if __name__ == "__main__":
    call, answer, *command = sys.argv[1:]
    refuse(call, getattr(errno, answer))
    os.execvp(command[0], command)
