"""`python -m homeostat` is the command `homeostat`."""

import os
import signal
import sys
import threading


def main() -> None:
    """Run the command line. Ctrl-C that comes while even its words are being loaded is 130 as later, and one that comes when all
    is said, while Python is ending, changes nothing that was.
    """
    try:
        from homeostat.cli import main as run

        run()
    except KeyboardInterrupt:
        print("homeostat: interrupted; nothing was written", file=sys.stderr)
        _end_with(128 + signal.SIGINT)
        sys.exit(128 + signal.SIGINT)
    except SystemExit as end:
        _end_with(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)
        raise


def _end_with(code: int) -> None:
    """From here on Ctrl-C ends the program at once, with this code; where it is ignored it stays so."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(code))


if __name__ == "__main__":
    main()
