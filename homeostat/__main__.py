"""`python -m homeostat` is the command `homeostat`."""

import signal
import sys


def main() -> None:
    """Run the command line. Ctrl-C that comes while even its words are being loaded, or after all is done, is 130 as later."""
    try:
        from homeostat.cli import main as run

        run()
    except KeyboardInterrupt:
        print("homeostat: interrupted; nothing was written", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
