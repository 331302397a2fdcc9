"""System calls that a generated program is refused (seccomp), with the standard library alone.

Not for hand use: `sandbox_isolation.py` installs it in each child before the program. It closes what namespaces and
limits leave open: memory that no limit counts (System V shared memory, memfd), kernel interfaces that a program of the
benchmarks has no use for, sockets, and, at level `rlimits`, signals to other processes of the same user. A refused
call fails with EPERM. Where the kernel has no filters, or the machine is neither x86-64 nor ARM64, there is none.
"""

import ctypes
import errno
import os
import struct
import sys

# (<sys/syscall.h> of x86-64, of ARM64)
REFUSED = {
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "open_by_handle_at": (304, 265),
    "unshare": (272, 97),
    "setns": (308, 268),
    "syslog": (103, 116),
    "socket": (41, 198),  # some families know no namespaces (vsock); a pair of sockets is another call
}
WITHOUT_NAMESPACES = {"tkill": (200, 130), "rt_sigqueueinfo": (129, 138)}
ON_ITSELF = {"kill": (62, 129), "tgkill": (234, 131), "rt_tgsigqueueinfo": (297, 240), "prlimit64": (302, 261)}

# <linux/audit.h>: (place in the pairs above, the number by which the kernel calls the architecture)
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
X32 = 0x40000000  # from here on x86-64's numbers are those of its 32-bit pointers

# <linux/filter.h>, <linux/seccomp.h>, <sys/prctl.h>
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little endian
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2

libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def is_supported() -> bool:
    """Whether this kernel takes filters on this machine."""
    if os.uname().machine not in ARCHITECTURES or sys.byteorder != "little":
        return False
    libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT  # it would have read the filter from address 0


def install(isolated: bool) -> None:
    """Refuses the calls above to this process and all that it starts; needs no_new_privs. Raises OSError.

    isolated: it has namespaces of its own, so that sockets lead nowhere and signals reach none but its own.
    """
    code = build(isolated, os.getpid())
    program = _Program(len(code) // 8, code)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"seccomp: {os.strerror(error)}")


def build(isolated: bool, own_pid: int) -> bytes:
    """The filter as the kernel's 8-byte instructions (code, steps if true, steps if false, operand)."""
    place, architecture = ARCHITECTURES[os.uname().machine]
    out = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, REFUSE),
        (LOAD, 0, 0, NUMBER),
    ]
    if place == 0:
        out += [(AT_LEAST, 0, 1, X32), (RETURN, 0, 0, REFUSE)]
    for numbers in [*REFUSED.values(), *([] if isolated else WITHOUT_NAMESPACES.values())]:
        out += [(EQUAL, 0, 1, numbers[place]), (RETURN, 0, 0, REFUSE)]
    for numbers in [] if isolated else ON_ITSELF.values():
        out += [
            (EQUAL, 0, 6, numbers[place]),
            (LOAD, 0, 0, FIRST_ARGUMENT),
            (EQUAL, 0, 1, 0),  # itself, or its own process group
            (RETURN, 0, 0, ALLOW),
            (EQUAL, 0, 1, own_pid),
            (RETURN, 0, 0, ALLOW),
            (RETURN, 0, 0, REFUSE),
        ]
    out.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in out)
