"""`edgeds` and `python -m edgeds`: importing the command line takes a moment, and Ctrl-C is answered from the first one on."""

import sys


def main() -> None:
    """Runs the command line."""
    try:
        from edgeds.cli import main as run

        run()
    except KeyboardInterrupt:
        print("edgeds: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
