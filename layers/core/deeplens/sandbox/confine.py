"""What a child process gives up before it sees an untrusted file: memory, files, and most system calls."""

import ctypes
import os
import resource
import sys
from pathlib import Path

X86, ARM = 0xC000003E, 0xC00000B7
MACHINES = {"x86_64": (X86, 0), "aarch64": (ARM, 1)}
"""Value of the kernel's architecture, and column of ``ALLOWED``."""
ALLOWED = """
read 0 63, write 1 64, readv 19 65, writev 20 66, mmap 9 222, mprotect 10 226, munmap 11 215, brk 12 214,
mremap 25 216, madvise 28 233, futex 202 98, rt_sigprocmask 14 135, rt_sigreturn 15 139, sigaltstack 131 132,
exit 60 93, exit_group 231 94, set_robust_list 273 99, rseq 334 293, getpid 39 172, gettid 186 178,
sched_yield 24 124, sched_getaffinity 204 123, clock_gettime 228 113, clock_nanosleep 230 115, nanosleep 35 101,
gettimeofday 96 169, getrandom 318 278, setitimer 38 103, alarm 37 103
"""
"""System calls with their numbers on both machines: computing, memory, threads, and the pipes that are open."""
CLONE, CLONE3, CLONE_THREAD = (56, 220), 435, 0x10000
EPERM, ENOSYS = 1, 38
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, EQUALS, HAS_BITS, RETURN = 0x20, 0x15, 0x45, 0x06
NUMBER_AT, MACHINE_AT, FIRST_ARGUMENT_AT = 0, 4, 16
NO_NEW_PRIVILEGES, DUMPABLE, SECCOMP, FILTER_MODE = 38, 4, 22, 2


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("value", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction))]


def hide_memory() -> bool:
    """Keep other processes of the same user from reading this one, and the kernel from dumping it."""
    return _prctl(DUMPABLE, 0)


def confine(memory_bytes: int, open_files: int) -> bool:
    """Give up everything but computing and the open files; return whether system calls are filtered as well.

    Parameters
    ----------
    memory_bytes : that may be taken from now on.
    open_files : number of open descriptors; no other can be opened.
    """
    if sys.platform != "linux":
        return False
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    for limit, value in (
        (resource.RLIMIT_AS, pages * resource.getpagesize() + memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, open_files),
    ):
        resource.setrlimit(limit, (value, value))
    return _prctl(NO_NEW_PRIVILEGES, 1) and _filter_system_calls()


def _filter_system_calls() -> bool:
    machine = MACHINES.get(os.uname().machine)
    if machine is None:
        return False
    program = filter_program(*machine)
    instructions = (_Instruction * len(program))(*(_Instruction(*line) for line in program))
    return _prctl(SECCOMP, FILTER_MODE, ctypes.byref(_Program(len(program), instructions)))


def filter_program(machine: int, column: int) -> list[tuple[int, int, int, int]]:
    """Return the BPF program: threads may be started but no processes, and what is not listed fails."""
    calls = [entry.split() for entry in ALLOWED.split(",")]
    numbers = sorted({int(call[1 + column]) for call in calls})
    allow, refuse = (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE | EPERM)
    return [
        (LOAD, 0, 0, MACHINE_AT),
        (EQUALS, 1, 0, machine),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT),
        # The C library falls back to ``clone``, whose flags a filter can read.
        (EQUALS, 0, 1, CLONE3),
        (RETURN, 0, 0, REFUSE | ENOSYS),
        *(line for number in numbers for line in ((EQUALS, 0, 1, number), allow)),
        (EQUALS, 0, 3, CLONE[column]),
        (LOAD, 0, 0, FIRST_ARGUMENT_AT),
        (HAS_BITS, 0, 1, CLONE_THREAD),
        allow,
        refuse,
    ]


def _prctl(option: int, value: int, argument: object = 0) -> bool:
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), argument, 0, 0) == 0)
