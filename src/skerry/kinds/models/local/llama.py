"""A process that serves a GGUF model by llama.cpp's own server, which a wheel brings along."""

from __future__ import annotations

import os
import signal
import sys

from skerry.kinds.models.local.setting import EXTRA_STATUS, read_setting


def main() -> None:
    """Load the model and serve it until this process is ended."""
    setting = read_setting()
    try:
        import xllamacpp  # noqa: PLC0415 - what is missing is told in our words
    except ImportError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(EXTRA_STATUS) from error
    params = xllamacpp.CommonParams()
    params.model.path = setting.path
    params.model_alias = {setting.name}
    params.hostnames = [setting.socket]
    params.n_ctx = setting.context * setting.parallel
    params.n_parallel = setting.parallel
    params.cpuparams.n_threads = setting.threads
    params.embedding = setting.embeddings
    params.use_jinja = True
    params.ui = False
    os.umask(0o177)
    server = xllamacpp.Server(params)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server
    os._exit(0)


if __name__ == "__main__":
    main()
