# SPDX-License-Identifier: MIT
"""What the tests of the program share: registering, running `plait`, watching its processes."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
EXECUTORS = ("fibers", "threads", "processes")
STARTED = []  # what start() has started in this test
TESTS = []  # (name, function, arguments)
PLAIT = None  # the program; `run` sets it
# Under a shell's `&` both come ignored, and would so reach every program started here.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
SCALE = float(os.environ.get("PLAIT_TEST_TIMEOUT_SCALE", "1"))


class Skip(Exception):
    pass


def test(function):
    """Registers a test; it runs in a fresh current directory."""
    TESTS.append((function.__name__, function, ()))
    return function


def each(function):
    """The same once for each executor, which is its argument."""
    for on in EXECUTORS:
        TESTS.append((f"{function.__name__}_on_{on}", function, (on,)))
    return function


class Result:
    def __init__(self, status, out, err, seconds):
        self.status, self.out, self.err, self.seconds = status, out, err, seconds

    @property
    def lines(self):
        return self.out.decode().splitlines()

    @property
    def errors(self):
        return self.err.decode().splitlines()

    def __repr__(self):
        return f"status {self.status}, {self.seconds:.2f} s\nout: {self.out!r}\nerr: {self.err!r}"


def plait(*words, stdin=b"", limit=60, **options):
    """Runs `plait WORDS...`; a run over `limit` seconds fails the test."""
    start = time.monotonic()
    if isinstance(stdin, bytes):
        options["input"] = stdin
    else:
        options["stdin"] = stdin
    done = subprocess.run([PLAIT, *words], stdout=options.pop("stdout", subprocess.PIPE),
                          stderr=options.pop("stderr", subprocess.PIPE), timeout=limit * SCALE,
                          check=False, **options)
    return Result(done.returncode, done.stdout, done.stderr, time.monotonic() - start)


def module(name, body):
    """Builds a plug-in from C."""
    if not shutil.which("cc"):
        raise Skip("no C compiler")
    pathlib.Path(f"{name}.c").write_text("#include <plait.h>\n#include <string.h>\n" + body)
    subprocess.run(["cc", "-shared", "-fPIC", "-I", str(ROOT / "include"), "-o", f"{name}.so",
                    f"{name}.c"], check=True)


def start(*words, **options):
    """`plait WORDS...` in the background, in a session of its own."""
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    options.setdefault("stdin", subprocess.DEVNULL)
    child = subprocess.Popen([PLAIT, *words], start_new_session=True, **options)
    STARTED.append(child)
    return child


def same(got, wanted, what=""):
    assert got == wanted, f"{what}\n  got    {got!r}\n  wanted {wanted!r}"


def inside(part, whole):
    assert part in whole, f"\n  {part!r}\n  is not in {whole!r}"


def until(condition, seconds=20, what="it"):
    end = time.monotonic() + seconds * SCALE
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come true in {seconds} s"
        time.sleep(0.01)
    return value


def processes_with(mark):
    """The processes whose command line or environment contains `mark`."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in text:
            found.append((int(entry.name), (entry / "cmdline").read_bytes()[:80]))
    return found


def marked(number=[0]):
    """An environment that marks all that is started with it, and the mark."""
    number[0] += 1
    mark = f"PLAIT_TEST_MARK={os.getpid()}.{number[0]}."
    name, value = mark.split("=")
    return dict(os.environ, **{name: value}), mark


def none_left(mark, seconds=5):
    until(lambda: not processes_with(mark), seconds, f"the end of {processes_with(mark)}")


def run_tests(words):
    # Whoever started the tests may ignore these, as nohup and `&` do, and so would the program.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tally = {"ok": 0, "FAIL": 0, "skip": 0}
    for name, function, arguments in TESTS:
        if words and not any(word in name for word in words):
            continue
        home = os.getcwd()
        directory = tempfile.mkdtemp(prefix="plait-cli.")
        os.chdir(directory)
        signal.alarm(int(120 * SCALE))
        try:
            function(*arguments)
            outcome, why = "ok", ""
        except Skip as reason:
            outcome, why = "skip", f": {reason}"
        except BaseException as error:  # a broken test must not hide the others
            if isinstance(error, KeyboardInterrupt):
                raise
            traceback.print_exc(limit=-3)
            outcome, why = "FAIL", f": {type(error).__name__}"
        finally:
            signal.alarm(0)
            while STARTED:
                STARTED.pop().kill()
            os.chdir(home)
            subprocess.run(["chmod", "-R", "u+rwX", directory], check=False)
            shutil.rmtree(directory, ignore_errors=True)
        tally[outcome] += 1
        print(f"{outcome} {name}{why}", flush=True)
    print(f"{tally['ok']} passed, {tally['FAIL']} failed, {tally['skip']} skipped", flush=True)
    return 1 if tally["FAIL"] else 0
