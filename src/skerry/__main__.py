"""The program `skerry`. Its version is told without importing anything else."""

import sys

from skerry import __version__


def main() -> None:
    """Run the command line; exits with its code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        sys.stdout.write(f"skerry {__version__}\n")
        return
    from skerry.surfaces.cli.main import run  # noqa: PLC0415 (the version comes without it)

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
