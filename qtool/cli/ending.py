"""How a run of the command line ends: by a signal, or with a reader or a disk that is gone.

Ctrl-C and SIGTERM become KeyboardInterrupt, which leaves nothing behind. Python delivers it between
two of its own steps, so not while onnxruntime computes: a thread sees the signal at once and, if
the run has not ended within a second, removes the temporary files and ends the process.
"""

from __future__ import annotations

import codecs
import errno
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from types import FrameType

from qtool.errors import MachineError
from qtool.files import discard_temporaries

PATIENCE = 1.0  # seconds for the run to end by itself
SIGNALS = (signal.SIGINT, signal.SIGTERM)

# what these errors mean is not a bug but the machine: disk full, too many files, no permission
OF_THE_MACHINE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM,
    errno.EMFILE, errno.ENFILE, errno.ENOMEM,
}  # fmt: skip


def watch_signals() -> None:
    """From now on SIGINT and SIGTERM end the run, within a second wherever it is."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def watch() -> None:
        with writer:  # kept open as long as it may be written to
            number = reader.recv(1)[0]
            time.sleep(PATIENCE)
            discard_temporaries()
            # The lock of the streams may be held by the main thread: write past them.
            with suppress(OSError):
                os.write(2, b"interrupted\n")
            os._exit(128 + number)

    threading.Thread(target=watch, daemon=True).start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


def open_streams() -> None:
    """Make stdout and stderr take any text: closed ones swallow it, ASCII ones get it escaped."""
    codecs.register_error("qtool", _spell)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller, `>&-`
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
            setattr(sys, name, stream)
        stream.reconfigure(errors="qtool")


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    part = error.object[error.start : error.end]
    spelled = "".join(_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in part)
    return spelled, error.end


_ASCII = {"…": "...", "×": "x", "−": "-"}


def flush() -> int:
    """Flush stdout; the exit code if nobody can take what is left, else 0."""
    try:
        sys.stdout.flush()
    except OSError as error:  # Python would flush and complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return unwritten(error)
    return 0


def unwritten(error: OSError) -> int:
    """The exit code of a run whose last words found no taker; a full disk is said on stderr."""
    if error.errno == errno.EPIPE:
        return 128 + signal.SIGPIPE
    with suppress(OSError):
        os.write(2, f"error: cannot write to stdout: {error.strerror}\n".encode())
    return MachineError.exit_code
