"""The editor's pages: log in, write, publish, keep pictures, decide on comments, import."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from newsroom import articles, comments, importing, markdown, pictures, search, sessions, site
from newsroom.articles import ConflictError, Draft
from newsroom.forms import Form, read_body
from newsroom.site import form, found, page, redirect

LOGINS = 5
LOGIN_SECONDS = 900
BODY_MAX = 200_000
IMPORT_BYTES_MAX = 24 << 20
DECISIONS = ("shown", "hidden", "waiting")

Handler = Callable[[Request], Awaitable[Response]]


def editors_only(handler: Handler) -> Handler:
    """Send everybody else to the login."""

    @functools.wraps(handler)
    async def guarded(request: Request) -> Response:
        if site.is_editor(request):
            return await handler(request)
        if request.method == "POST":
            raise HTTPException(403, "Log in as editor first.")
        return redirect(request, "login")

    return guarded


async def login(request: Request) -> Response:
    """Log in with the password, five attempts at most in a quarter of an hour."""
    if request.method == "GET":
        return await _login_page(request, "", 200)
    given = await form(request)
    who = site.client(request)
    if not sessions.may("login", who, LOGINS):
        return await _login_page(request, "Too many attempts. Try again in 15 minutes.", 429)
    if not sessions.password_matches(given.text("password", 500)):
        await sessions.count("login", who, LOGIN_SECONDS)
        return await _login_page(request, "That is not the password.", 403)
    token = sessions.new_token()
    await sessions.log_in(token)
    response = redirect(request, "editor")
    site.set_cookie(request, response, token)
    return response


async def _login_page(request: Request, problem: str, status: int) -> Response:
    ready = sessions.has_password()
    return await page(request, "editor/login.html", status, problem=problem, ready=ready)


@editors_only
async def logout(request: Request) -> Response:
    """Log out."""
    await form(request)
    await sessions.log_out(request.cookies[site.COOKIE])
    response = redirect(request, "front")
    site.set_cookie(request, response, sessions.new_token())
    return response


@editors_only
async def desk(request: Request) -> Response:
    """All articles, drafts first."""
    return await page(request, "editor/desk.html", stories=await articles.everything(500))


@editors_only
async def write(request: Request) -> Response:
    """Show an article, or an empty one, in the editor; keep what is sent."""
    number = request.path_params.get("number")
    article = found(await articles.by_id(number)) if number is not None else None
    if request.method == "GET":
        return await _write_page(request, article, Form(), "")
    sent = await form(request, BODY_MAX * 5)
    draft = _draft(sent)
    if not draft.title:
        return await _write_page(request, article, sent, "An article needs a title.", 400)
    try:
        if article is None:
            article = await articles.create(draft)
        else:
            article = await articles.change(article["id"], sent.number("revision"), draft)
    except ConflictError:
        problem = "Somebody else has changed this article meanwhile. Copy your text and reload."
        return await _write_page(request, article, sent, problem, 409)
    action = sent.text("action")
    if action in ("publish", "unpublish"):
        article = found(await articles.publish(article["id"], public=action == "publish"))
    await search.follow(article)
    return redirect(request, "write", f"?saved={action or 'save'}", number=article["id"])


def _draft(sent: Form) -> Draft:
    return Draft(
        title=sent.text("title"),
        lede=sent.text("lede", 500),
        body=sent.long_text("body", BODY_MAX),
        section=sent.text("section", 60) or "News",
        author=sent.text("author", 60) or "The editors",
        picture=sent.text("picture") or None,
        caption=sent.text("caption", 300),
    )


async def _write_page(
    request: Request, article: Any, sent: Form, problem: str, status: int = 200
) -> Response:
    names = {"section": "section_name", "author": "author_name"}
    fields = ("title", "lede", "body", "section", "author", "picture", "caption")
    values = {
        name: sent.fields.get(name) or (article[names.get(name, name)] if article else "") or ""
        for name in fields
    }
    return await page(
        request,
        "editor/write.html",
        status,
        article=article,
        values=values,
        problem=problem,
        saved=request.query_params.get("saved", ""),
        sections=await articles.all_sections(),
        authors=await articles.authors(),
        pictures=await pictures.recent(200),
    )


@editors_only
async def preview(request: Request) -> Response:
    """Show how a text will look, for the frame beside it."""
    sent = await form(request, BODY_MAX * 5)
    body = await markdown.render(
        sent.long_text("body", BODY_MAX), site.urls(request), sent.text("source", 500) or None
    )
    return await page(request, "editor/preview.html", draft=_draft(sent), body=body)


@editors_only
async def delete(request: Request) -> Response:
    """Delete an article."""
    await form(request)
    number = request.path_params["number"]
    await articles.delete(number)
    await search.remove([number])
    return redirect(request, "editor")


@editors_only
async def gallery(request: Request) -> Response:
    """All pictures; keep one that is sent."""
    problem = ""
    if request.method == "POST":
        sent = await form(request, pictures.BYTES_MAX + (64 << 10))
        upload = sent.files.get("picture")
        try:
            if upload is None or not upload.data:
                raise pictures.NotAPictureError("Choose a file first.")
            await pictures.keep(upload.name, upload.data)
            return redirect(request, "gallery")
        except pictures.NotAPictureError as error:
            problem = str(error)
    shown = await pictures.recent(200)
    status = 400 if problem else 200
    return await page(request, "editor/gallery.html", status, pictures=shown, problem=problem)


@editors_only
async def moderation(request: Request) -> Response:
    """Comments that wait, and those that were decided; decide on one."""
    if request.method == "POST":
        sent = await form(request)
        if sent.text("status") not in DECISIONS:
            raise HTTPException(400, f"A comment is {', '.join(DECISIONS)}.")
        await comments.decide(sent.number("comment"), sent.text("status"))
        return redirect(request, "moderation")
    groups = [(status, await comments.by_status(status)) for status in ("waiting", "shown")]
    return await page(request, "editor/comments.html", groups=groups)


async def bring(request: Request) -> Response:
    """Import a folder of Markdown, as an archive: from the editor's page or from a program.

    A program sends the archive as the body and the password as a bearer token.
    """
    scheme, _, password = request.headers.get("authorization", "").partition(" ")
    if request.method == "POST" and scheme.lower() == "bearer":
        return await _bring_by_program(request, password)
    return await _bring_by_form(request)


async def _bring_by_program(request: Request, password: str) -> Response:
    who = site.client(request)
    if not sessions.may("login", who, LOGINS):
        return JSONResponse({"error": "Too many attempts. Try again in 15 minutes."}, 429)
    if not sessions.password_matches(password):
        await sessions.count("login", who, LOGIN_SECONDS)
        return JSONResponse({"error": "That is not the editor's password."}, 403)
    section = " ".join(request.query_params.get("section", "").split())[:60]
    data = await read_body(request, IMPORT_BYTES_MAX)
    try:
        report = await _import(data, section)
    except importing.NotImportableError as error:
        return JSONResponse({"error": str(error)}, 400)
    return JSONResponse(
        {
            "articles": report.articles,
            "pictures": report.pictures,
            "skipped": list(report.skipped),
        }
    )


@editors_only
async def _bring_by_form(request: Request) -> Response:
    report, problem = None, ""
    if request.method == "POST":
        sent = await form(request, IMPORT_BYTES_MAX + (64 << 10))
        archive = sent.files.get("archive")
        try:
            if archive is None or not archive.data:
                raise importing.NotImportableError("Choose an archive first.")
            report = await _import(archive.data, sent.text("section", 60))
        except importing.NotImportableError as error:
            problem = str(error)
    status = 400 if problem else 200
    return await page(request, "editor/import.html", status, report=report, problem=problem)


async def _import(data: bytes, section: str) -> importing.Report:
    files = await asyncio.to_thread(importing.read_archive, data)
    return await importing.import_files(files, section or "Library")


ROUTES = [
    Route("/editor", desk, name="editor"),
    Route("/editor/login", login, name="login", methods=["GET", "POST"]),
    Route("/editor/logout", logout, name="logout", methods=["POST"]),
    Route("/editor/new", write, name="new", methods=["GET", "POST"]),
    Route("/editor/articles/{number:int}", write, name="write", methods=["GET", "POST"]),
    Route("/editor/articles/{number:int}/delete", delete, name="delete", methods=["POST"]),
    Route("/editor/preview", preview, name="preview", methods=["POST"]),
    Route("/editor/pictures", gallery, name="gallery", methods=["GET", "POST"]),
    Route("/editor/comments", moderation, name="moderation", methods=["GET", "POST"]),
    Route("/editor/import", bring, name="import", methods=["GET", "POST"]),
]
