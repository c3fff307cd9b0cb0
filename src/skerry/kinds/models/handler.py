"""Carries out the words of models that need no app of one's own."""

from __future__ import annotations

import io
import re
import tarfile
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from skerry.kernel.commands import Nothing, WordCall
from skerry.kernel.errors import CONFLICT, INVALID, NOT_FOUND
from skerry.kernel.names import MAIN, is_name
from skerry.kinds.models.claim import OWNER, secret_key
from skerry.kinds.models.gateway.profiles import profiles
from skerry.kinds.models.service import Compare, Comparison, Endpoint, Serve

RESOURCE = "ai"
KIND = "models"
WORD_SECONDS = 1800.0
COMPARISONS_MAX = 10

Progress = Callable[[int, int, str], None]


class Handler:
    """Answers with the help of the node, which is given as it is."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._last: deque[Comparison] = deque(maxlen=COMPARISONS_MAX)

    async def do_serve(self, params: Serve, progress: Progress) -> Endpoint:
        """See `models.serve`."""
        self._check_app(params.app)
        text = app_file(params)
        upload = await self._node.archives.receive(_tar({"skerry.toml": text}))
        await self._node.deploys.deploy(upload, MAIN, progress)
        branch = self._node.catalogue.branch(params.app, MAIN)
        resource = self._node.workshop.resource(branch, RESOURCE)
        key = secret_key(resource.id, OWNER, resource.keys)
        base_url = f"{self._node.url}/v1"
        where = ", ".join(params.jurisdiction)
        return Endpoint(
            app=params.app,
            base_url=base_url,
            api_key=key,
            python=f'OpenAI(base_url="{base_url}", api_key="{key}")',
            policy=f"prompts may go to {where}" if where else "no prompt leaves this node",
            next=f"skerry secret set SCALEWAY_API_KEY --app {params.app}"
            if where
            else "skerry models serve --jurisdiction EU, so that prompts may go to providers there",
        )

    def _check_app(self, name: str) -> None:
        """Refuse the name of an app that is something else."""
        if not is_name(name):
            raise INVALID(f"{name!r} cannot name an app.")
        app = self._node.catalogue.apps.get(name)
        if app is None or MAIN not in app.branches:
            return
        spec = self._node.catalogue.spec(app.branches[MAIN])
        if [(each.kind, each.name) for each in spec.resources] != [(KIND, RESOURCE)]:
            raise CONFLICT(
                f"The app {name} is something else than an endpoint of models.",
                hint="skerry models serve --app <another name>",
            )

    async def do_compare(self, params: Compare, progress: Progress) -> Comparison:
        """See `models.compare`."""
        app, name = self._resource(params)
        asked = {"prompt": params.prompt, "models": params.models, "max_tokens": params.max_tokens}
        call = WordCall(name=name, app=app, params=asked, branch=params.branch)
        rows = await self._node.words.call(KIND, "ask", call, progress, WORD_SECONDS)
        found = Comparison(params.prompt, tuple(rows))
        self._last.appendleft(found)
        return found

    async def do_comparisons(self, params: Nothing, progress: Progress) -> list[Comparison]:
        """See `models.comparisons`."""
        return list(self._last)

    def _resource(self, params: Compare) -> tuple[str, str]:
        """Return the app and the resource that are meant."""
        found = [
            (app.name, each.name)
            for app in self._node.catalogue.apps.values()
            if params.app in (None, app.name) and params.branch in app.branches
            for each in self._node.catalogue.spec(app.branches[params.branch]).resources
            if each.kind == KIND and params.name in (None, each.name)
        ]
        if not found:
            raise NOT_FOUND("No models are served here.", hint="skerry models serve")
        if len(found) > 1:
            known = ", ".join(f"--app {app} --name {name}" for app, name in found)
            raise INVALID(f"Say which one of: {known}.")
        return found[0]


def app_file(params: Serve) -> str:
    """Return the `skerry.toml` of an endpoint."""
    lines = ["[app]", f"name = {_text(params.app)}", f"[{KIND}.{RESOURCE}]"]
    secrets = sorted({each.secret for each in profiles().values() if each.secret})
    lines.append(f"secrets = {_text(secrets)}")
    lines += [f"cache = {_text(params.cache)}", f"log = {_text(params.log.value)}"]
    for engine, given in (("gguf", params.gguf), ("onnx", params.onnx)):
        for each in given:
            name, path = _local(each)
            lines += [f"[{KIND}.{RESOURCE}.local.{_text(name)}]", f"{engine} = {_text(path)}"]
            lines += [f"context = {params.context}"] if engine == "gguf" else []
    if params.alias:
        lines.append(f"[{KIND}.{RESOURCE}.aliases]")
    for each in params.alias:
        name, mark, targets = each.partition("=")
        models = [target.strip() for target in targets.split(",") if target.strip()]
        if not mark or not name or not models:
            raise INVALID(f"{each!r} is no alias.", hint="--alias chat=first,second")
        lines.append(f"{_text(name)} = {_text(models)}")
    if params.jurisdiction or params.exclude_reach:
        lines.append("[policy]")
    if params.jurisdiction:
        lines.append(f"jurisdiction = {_text(list(params.jurisdiction))}")
    if params.exclude_reach:
        lines.append(f"exclude_reach = {_text(list(params.exclude_reach))}")
    return "\n".join(lines) + "\n"


def _local(given: str) -> tuple[str, str]:
    """Return the name and the path of a local model; its file's name is its name by default."""
    name, mark, path = given.partition("=")
    if not mark:
        path = given
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(given).stem) or "model"
    if not Path(path).is_absolute():
        raise INVALID(
            f"{path!r} must be a whole path.", why="The endpoint has no folder of its own."
        )
    return name, path


def _text(value: Any) -> str:
    """Return a text or a list of texts in TOML, which writes them as JSON does."""
    return msgspec.json.encode(value).decode()


async def _tar(files: dict[str, str]) -> AsyncIterator[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            data = text.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    yield buffer.getvalue()
