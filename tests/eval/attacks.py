"""Programs that mean harm to the machine they run on; not collected as tests."""

# Programs whose test holds only if they did, saw or reached what they must not.
ATTACKS = {
    "deletes through a symbolic link": "import os\nos.symlink({canary!r}, 'x')\nopen('x', 'w').write('harm')",
    "leaves by a symbolic link": "import os\nos.symlink('/', 'root')\nassert os.path.exists('root' + {canary!r})",
    "leaves by a hard link": "import os\nos.link({canary!r}, 'x')",
    "leaves by going up": "import os\nassert os.path.exists('../' * 30 + {canary!r})",
    "makes a program of root's": "import os\nopen('a', 'w')\nos.chown('a', 0, 0)\nos.chmod('a', 0o4777)",
    "traces its parent": "import ctypes, os\nassert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0",
    "reads another's memory": """
import ctypes, os
libc, text = ctypes.CDLL(None), ctypes.create_string_buffer(8)
class IO(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
there = IO(ctypes.addressof(text), 8)
assert libc.process_vm_readv(os.getppid(), ctypes.byref(there), 1, ctypes.byref(there), 1, 0) == 8
""",
    "kills everybody": "import os\nos.kill(-1, 9)",
    "kills the first process": "import os\nassert os.getpid() != 1\nos.kill(1, 9)",
    "mounts": "import ctypes\nassert ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0",
    "mounts /proc": "import ctypes\nassert ctypes.CDLL(None).mount(b'x', b'/tmp', b'proc', 0, None) == 0",
    "enters another namespace": "import ctypes\nassert ctypes.CDLL(None).setns(0, 0) == 0",
    "sets the clock": "import time\ntime.clock_settime(0, 0)",
    "names the machine": "import socket\nsocket.sethostname('harm')",
    "gets back its capabilities": "import ctypes\nassert ctypes.CDLL(None).prctl(47, 2, 21, 0, 0) == 0",
    "memory that no limit counts": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
for _ in range(4):
    segment = libc.shmget(0, 64 << 20, 0o1600)
    assert segment >= 0
    at = libc.shmat(segment, None, 0)
    ctypes.memset(at, 1, 64 << 20)
    libc.shmdt(ctypes.c_void_p(at))
""",
    "files that live in memory": "import os\nos.write(os.memfd_create('x'), bytes(1 << 20))",
    "keys that stay": "import ctypes\nassert ctypes.CDLL(None).syscall(248, b'user', b'x', b'y', 1, -4) > 0",
    "looks for secrets": """
import glob, os
places = ['/etc/passwd', '/etc/shadow', '/etc/hosts', '/run', '/var', '/sys', '/proc/self', '/proc/1', '/boot', '/mnt']
places += [{home!r} + end for end in ('/.ssh', '/.cache', '/.config', '/.netrc', '/.profile', '/.bashrc')]
assert [place for place in places if os.path.exists(place)] + glob.glob('/tmp/*') + glob.glob('/dev/s*')
""",
    "opens a raw socket": "from socket import *\nsocket(AF_PACKET, SOCK_RAW)",
    "a number without end": "x = 10 ** 10 ** 10",
    "an expression that backtracks": "import re\nre.match('(a*)*b', 'a' * 64)",
    "a chain of forks": "import os\nwhile True:\n    if os.fork(): os._exit(0)",
    "a deep folder": "import os\nfor _ in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\nassert False",
    "many files": "for i in range(3000): open(str(i), 'w')",
    "many open files": "held = [open('/dev/null') for _ in range(100)]",
    "a long line": "text = 'passed' * 10**8",
    "deletes a file": "import os\ntry: os.remove({canary!r})\nexcept OSError: pass",
    "overwrites a file": "try: open({canary!r}, 'w').write('harm')\nexcept OSError: pass",
    "writes to the library": "import os\nopen(os.__file__ + '.harm', 'w')",
    "reads a file of this user": "assert open({canary!r}).read()",
    "reads the environment": "import os\nassert 'SECRET' in repr(os.environ) + open('/proc/self/environ').read()",
    "looks at the home folder": "import os\nassert len(os.listdir({home!r})) > 1",
    "reads the system's files": "open('/etc/passwd')",
    "sees processes": "import os\nassert os.listdir('/proc')",
    "reads its own memory": "open('/proc/self/mem', 'rb')",
    "connects to this machine": "import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)",
    "reaches a network": "from socket import *\nsocket(AF_INET, SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
    "kills its parent": "import os\nassert os.getppid() > 0\nos.kill(os.getppid(), 9)",
    "becomes root": "import os\nos.setuid(0)",
    "makes a user namespace": "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "makes a mount namespace": "import ctypes\nassert ctypes.CDLL(None).unshare(0x20000) == 0",
    "leaves its root": "import os\nos.chroot('.')",
    "makes a device": "import os\nos.mknod('disk', 0o60666, os.makedev(8, 0))",
    "runs what it wrote": "import os\nopen('a', 'w').write('#!/bin/sh')\nos.chmod('a', 0o777)\nos.execv('a', ['a'])",
    "fills the disk": "for i in range(100): open(str(i), 'wb').write(bytes(1 << 20))",
    "writes one large file": "open('large', 'wb').write(bytes(12 << 20))",
    "fork bomb": "import os\nfor _ in range(30): os.fork()",
    "thread bomb": "import threading, time\nfor _ in range(99): threading.Thread(target=time.sleep, args=(9,)).start()",
    "memory bomb": "x = []\nwhile True: x.append(bytearray(10 << 20))",
    "raises its own limits": "import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (10000, 10000))",
    "endless output": "while True: print('passed' * 1000)",
    "refuses to end": """
import signal
for number in range(1, 65):
    try: signal.signal(number, lambda *_: None)
    except (OSError, ValueError): pass
while True:
    try:
        while True: pass
    except BaseException: pass
""",
    "its parent's environment": "import os\nassert open(f'/proc/{{os.getppid()}}/environ').read()",
    "its runner's memory": "import os\nopen(f'/proc/{{os.getppid()}}/mem', 'rb')",
    "its own map of memory": "assert open('/proc/self/maps').read()",
    "a million small files": "for i in range(10**6): open(str(i), 'w').close()",
    "a million names of one file": "import os\nopen('a', 'w')\nfor i in range(10**6): os.link('a', str(i))",
    "a file as large as a disk": "open('a', 'wb').truncate(1 << 45)",
    "leaves through an open folder": """
import os
held = os.open('/', os.O_RDONLY)
os.fchdir(held)
for _ in range(30): os.chdir('..')
assert os.path.exists({canary!r}[1:])
""",
    "puts another folder in the place of its own": "import os\nos.rename('/tmp', '/tmp2')",
    "a socket to the machine's host": "from socket import *\nsocket(40, SOCK_STREAM)",
    "a socket to the kernel": "from socket import *\nsocket(16, SOCK_RAW)",
    "a socket of another network": "from socket import *\nsocket(AF_UNIX).connect('\\0/tmp/.X11-unix/X0')",
    "before all others": "import os\nos.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
    "a higher priority": "import os\nos.nice(-5)",
    "memory that is never swapped": "import ctypes\nassert ctypes.CDLL(None).mlockall(1) == 0",
    "the kernel's messages": """
import ctypes
assert ctypes.CDLL(None).klogctl(3, ctypes.create_string_buffer(4096), 4096) >= 0
""",
    "a copy of the tree of mounts": "import ctypes\nassert ctypes.CDLL(None).syscall(428, -100, b'/', 1) >= 0",
    "writes to the terminal": "open('/dev/tty', 'w').write('harm')",
    "the limits of its parent": """
import ctypes
limits = (ctypes.c_ulong * 2)(1, 1)
assert ctypes.CDLL(None).prlimit64(1, 6, limits, None) == 0 and ctypes.CDLL(None).getpid() != 1
""",
    "runs the system's programs": """
import glob, os
for path in ('/bin/sh', '/usr/bin/env', '/usr/bin/python3', '/usr/sbin/chroot'): assert not os.path.exists(path)
os.execv('/bin/sh', ['sh', '-c', 'exit 0'])
""",
}
