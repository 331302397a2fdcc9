"""Programs that turn Python's own means against the runner: frames, trace functions, iterators, hooks, ctypes.

Each tries to pass without running `assert f(1) == 2` to its end; none touches the value that `f` returns.
"""

WRONG = "\ndef f(x):\n    return x"
EMPTY = "import sys\nempty = compile('', 'program', 'exec')\n"

INSIDE = {
    "empty tests by a trace function": EMPTY
    + """
def trace(frame, event, _):
    for name in 'tests', 'setup', 'code', 'request':
        frame.f_locals[name] = empty
    return trace
frame = sys._getframe(1)
frame.f_trace, frame.f_trace_opcodes = trace, True
sys.settrace(trace)
"""
    + WRONG,
    "another exec by a trace function": EMPTY
    + """
def trace(frame, event, _):
    frame.f_locals.update(run=lambda *_: None, space={}, module=None)
    return trace
frame = sys._getframe(1)
frame.f_trace, frame.f_trace_opcodes = trace, True
sys.settrace(trace)
"""
    + WRONG,
    "empty tests written into the runner's frame": EMPTY
    + """
import ctypes
frame = sys._getframe(1)
frame.f_locals['tests'] = empty
frame.f_locals['run'] = lambda *_: None
ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
"""
    + WRONG,
    "a jump out of the runner's handlers": EMPTY
    + """
def trace(frame, event, _):
    if event == 'line' and frame.f_code.co_name == '_run':
        for line in range(frame.f_code.co_firstlineno, frame.f_code.co_firstlineno + 40):
            try: frame.f_lineno = line
            except ValueError: pass
    return trace
frame = sys._getframe(1)
frame.f_trace = trace
sys.settrace(trace)
"""
    + WRONG,
    "a jump from every event": EMPTY
    + """
def trace(frame, event, _):
    if frame.f_code.co_name in ('_run', '<module>'):
        for line in (frame.f_lineno + 1, frame.f_lineno + 2, frame.f_lineno + 8):
            try: frame.f_lineno = line
            except ValueError: pass
    return trace
frame = sys._getframe()
while frame:
    frame.f_trace, frame.f_trace_opcodes = trace, True
    frame = frame.f_back
sys.settrace(trace)
"""
    + WRONG,
    "what is left of iterators": """
import gc
for thing in gc.get_objects():
    if type(thing).__name__.endswith(('iterator', 'map', 'chain', 'zip', 'generator')):
        try: thing.__setstate__(0)
        except Exception: pass
        try:
            for _ in range(9): next(thing)
        except BaseException: pass
"""
    + WRONG,
    "other parts in every list and dictionary": EMPTY
    + """
import gc
for thing in gc.get_objects():
    if type(thing) is dict and 'tests' in thing: thing['tests'] = []
    if type(thing) is list and thing and isinstance(thing[0], str) and thing[0].startswith('assert f'): thing.clear()
"""
    + WRONG,
    "other defaults and code of the runner's functions": EMPTY
    + """
main = sys.modules['__main__']
for name, thing in list(vars(main).items()):
    if callable(thing) and hasattr(thing, '__code__'):
        thing.__defaults__ = tuple([lambda *_: None] * len(thing.__defaults__ or ()))
        try: thing.__code__ = (lambda *_, **__: None).__code__
        except ValueError: pass
"""
    + WRONG,
    "swallows the exception in a trace function": """
import sys
def trace(frame, event, argument):
    if event == 'exception': sys.exc_info = lambda: (None, None, None)
    return trace
sys.settrace(trace)
"""
    + WRONG,
    "an exception into the main thread": """
import ctypes, threading, time
main = threading.main_thread().ident
def interrupt():
    while True: ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(SystemExit))
threading.Thread(target=interrupt, daemon=True).start()
"""
    + WRONG,
    "an audit hook": """
import os, sys
def hook(event, arguments):
    if event == 'exec': os._exit(0)
sys.addaudithook(hook)
"""
    + WRONG,
    "closes every file": "import os\nos.closerange(0, 1024)" + WRONG,
    "gives its own pipe to the runner's report": """
import os
os.closerange(3, 1024)
os.pipe(), os.pipe()
"""
    + WRONG,
    "a thread that writes when the tests have failed": """
import os, threading
def write():
    while True:
        try: os.write(4, bytes(16))
        except OSError: pass
for _ in range(3): threading.Thread(target=write, daemon=True).start()
"""
    + WRONG,
    "another AssertionError, print, write and import": """
import builtins, os, sys
for name in ('AssertionError', 'print', '__import__', 'compile', 'type', 'isinstance', 'BaseException'):
    setattr(builtins, name, lambda *_, **__: True)
sys.stdout = sys.stderr = sys.__stdout__ = None
os.write = os._exit = lambda *_: 16
"""
    + WRONG,
    "equal to everything by another class": "class int(int):\n    __eq__ = __ne__ = lambda *_: False\n" + WRONG,
    "a mapping as its module": """
import sys
class Space(dict):
    def __missing__(self, name): return lambda *_: True
sys.modules['program'] = Space()
sys._getframe().f_globals.update(f=lambda x: x)
""",
    "the last word at exit": """
import atexit, os, threading, weakref
class C: pass
c = C()
weakref.finalize(c, os.write, 4, b'passed')
atexit.register(os.write, 4, bytes(16))
threading._register_atexit(os.write, 4, bytes(16))
"""
    + WRONG,
    "forks and lets the children speak": """
import os
for _ in range(6):
    if os.fork() == 0:
        try: os.write(4, b'passed'); os.write(1, b'passed')
        finally: os._exit(0)
"""
    + WRONG,
    "a coroutine of its own": """
import asyncio
async def main(): raise SystemExit(0)
asyncio.run(main())
"""
    + WRONG,
    "signals to everybody it can name": """
import os, signal
for pid in (0, 1, -1, os.getpid(), os.getppid()):
    for number in (signal.SIGTERM, signal.SIGKILL):
        try: os.kill(pid, number)
        except OSError: pass
"""
    + WRONG,
}
