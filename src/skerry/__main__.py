"""The program `skerry`. Its version is told without importing anything else."""

import sys

from skerry import __version__

_VERSION = frozenset({"--version", "-V"})
_JSON = "--json"


def main() -> None:
    """Run the command line; exits with its code."""
    said = set(sys.argv[1:])
    if said & _VERSION and said <= {*_VERSION, _JSON}:
        found = f'{{"version": "{__version__}"}}' if _JSON in said else f"skerry {__version__}"
        sys.stdout.write(f"{found}\n")
        return
    from skerry.surfaces.cli.main import run  # noqa: PLC0415 (the version comes without it)

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
