"""What begins in the sandbox of a hybrid job: it runs the user's script, and says how it failed.

`python inside <folder of the source> <file for a failure>`; the entry point is a variable of the
environment, as in Braket's own containers. A function that `@hybrid_job` sends is pickled: it is
unpickled here by the script that the SDK made, and nowhere else on the node. That runs the user's
code, which is what this sandbox is for.

Nothing of Skerry is imported: the interpreter is that of a stack, which may have no more than it.
"""

import importlib
import os
import runpy
import subprocess
import sys
import traceback
from pathlib import Path

REASON_CHARACTERS_MAX = 900


def main() -> int:
    """Run the entry point; return the exit code."""
    code, failure = Path(sys.argv[1]), Path(sys.argv[2])
    entry = os.environ["AMZN_BRAKET_SCRIPT_ENTRY_POINT"]
    module, _, function = entry.partition(":")
    sys.argv[:] = [module]
    sys.path[0] = str(code)
    os.chdir(code)
    try:
        require(code, module)
        if function:
            getattr(importlib.import_module(module), function)()
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        number = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if number:
            failure.write_text(f"SystemExit: {ended.code}"[:REASON_CHARACTERS_MAX], "utf-8")
        return number
    except BaseException as error:
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}"
        failure.write_text(text[:REASON_CHARACTERS_MAX], "utf-8")
        return 1
    finally:
        sys.stdout.flush()
    return 0


def require(code: Path, module: str) -> None:
    """See that what the source requires is installed: a job has no network to fetch it by."""
    for folder in (code, code / module.partition(".")[0]):
        wanted = folder / "requirements.txt"
        if wanted.is_file():
            pip = [sys.executable, "-m", "pip", "install", "--no-index", "-r", str(wanted)]
            done = subprocess.run(pip, check=False)
            if done.returncode:
                raise RuntimeError(
                    "requirements.txt asks for packages that the stack does not have; "
                    "a job has no network, so the operator must install a stack that has them"
                )


if __name__ == "__main__":
    sys.exit(main())
