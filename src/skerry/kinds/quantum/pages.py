"""The pages of the console: devices, jobs, reservations, and a program compared."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from skerry.kernel.errors import SkerryError
from skerry.kernel.names import MAIN
from skerry.kinds.quantum import device_reports, drawing, hybrid_reports, pictures, reports
from skerry.kinds.quantum.catalogue import load
from skerry.kinds.quantum.catalogue.model import Modality
from skerry.kinds.quantum.hybrid.contract import Told
from skerry.kinds.quantum.twins import is_runnable

KIND = "quantum"
_PLACE = ("app", "branch", "resource")
PROGRAM_BYTES_MAX = 6000
"""A program in a form's address; longer ones are for the command line."""

EXAMPLE = """OPENQASM 3.0;
include "stdgates.inc";
qubit[3] q;
bit[3] c;
h q[0];
cx q[0], q[1];
cx q[1], q[2];
c = measure q;
"""


async def devices(visit: Any) -> dict[str, Any]:
    """Return every device by modality, with its topology in small."""
    table: device_reports.DeviceTable = await visit.ask("quantum.devices")
    return {
        "groups": [
            (each.value, [row for row in table.devices if row.modality == each.value])
            for each in Modality
        ],
        "pictures": {
            each.id: pictures.thumbnail(each, load.calibration(each.id))
            for each in load.devices().values()
        },
        "cli": ["skerry quantum devices"],
    }


async def device(visit: Any) -> dict[str, Any]:
    """Return one device with its figures, sources and topology."""
    name = visit.word("device")
    report: device_reports.DeviceReport = await visit.ask("quantum.device", device=name)
    found = report.device
    return {
        "title": found.name,
        "report": report,
        "found": found,
        "figures": [
            (
                device_reports.figure_name(each),
                device_reports.figure_text(each),
                device_reports.source_text(found, each.source),
            )
            for each in report.figures
        ],
        "legend": drawing.legend(report.calibration) if report.calibration else None,
        "decides": device_reports.feedforward_text(found),
        "prices": device_reports.prices(found),
        "conflicts": list(device_reports.conflict_lines(found)),
        "scores": [
            (
                each,
                device_reports.score_text(each.machine, each.machine_deviation),
                device_reports.score_text(each.twin, each.twin_deviation),
            )
            for each in report.scores
        ],
        "never_more": device_reports.NEVER_MORE,
        "no_benchmark": device_reports.NO_BENCHMARK,
        "cli": [f"skerry quantum device {found.id}"],
    }


async def _places(visit: Any) -> list[tuple[str, str, str, bool]]:
    """Return every quantum resource as (app, branch, name, awake)."""
    places = []
    for app in await visit.ask("app.list"):
        for branch in await visit.ask("branch.list", app=app.name):
            found = await visit.ask("resource.list", app=app.name, branch=branch.name)
            places += [
                (app.name, branch.name, each.name, each.awake)
                for each in found
                if each.kind == KIND
            ]
    return places


def _chosen(visit: Any, places: list[tuple[str, str, str, bool]]) -> dict[str, str]:
    """Return the resource that the address names, the only one if it names none, or nothing."""
    known = [{"app": app, "branch": branch, "resource": name} for app, branch, name, _ in places]
    asked = {name: visit.request.query_params.get(name, "") for name in _PLACE}
    if asked in known:
        return asked
    return known[0] if len(known) == 1 else {}


async def jobs(visit: Any) -> dict[str, Any]:
    """Return the resources of this node, and the jobs of the one that was chosen."""
    places = await _places(visit)
    chosen = _chosen(visit, places)
    shown, hybrid = [], []
    if chosen:
        table = await visit.ask("quantum.jobs", **chosen)
        hybrid = [(job, reports.moment_text(job.created)) for job in table.hybrid]
        shown = [
            (
                job,
                reports.moment_text(job.created),
                reports.where_text(job),
                reports.money(job.cost),
            )
            for job in table.jobs
        ]
    return {
        "places": places,
        "chosen": chosen,
        "jobs": shown,
        "hybrid": hybrid,
        "cli": [f"skerry quantum jobs --app {chosen['app']}" if chosen else "skerry quantum jobs"],
    }


async def reservations(visit: Any) -> dict[str, Any]:
    """Return the reservations of a resource, and the devices that can be reserved."""
    places = await _places(visit)
    chosen = _chosen(visit, places)
    rows = await visit.ask("quantum.reservations", **chosen) if chosen else []
    return {
        "places": places,
        "chosen": chosen,
        "back": f"/quantum/reservations?{urlencode(chosen)}",
        "reservations": rows,
        "devices": [each.id for each in load.devices().values() if is_runnable(each)],
        "cli": [
            "skerry quantum reserve iqm-garnet --minutes 30",
            "skerry quantum run circuit.qasm --device iqm-garnet --reservation <id>",
        ],
    }


async def job(visit: Any) -> dict[str, Any]:
    """Return one job with its histograms and where they come from."""
    place = {name: visit.word(name) for name in _PLACE}
    report: reports.ShownJob = await visit.ask("quantum.job", job=visit.word("job"), **place)
    found = report.job
    if found is None:
        return _hybrid(report.hybrid, place)
    return {
        "title": found.request.name or "Job",
        "job": found,
        "place": place,
        "back": f"/quantum/jobs/{place['app']}/{place['branch']}/{place['resource']}/{found.id}",
        "where": reports.where_text(found),
        "queue": reports.queue_text(found.queue) if found.queue and found.queue.position else "",
        "trouble": reports.trouble_text(found) if found.trouble and not found.over else "",
        "events": [(reports.second_text(each.at), each) for each in report.events],
        "outcomes": [
            (each, pictures.histogram(each, f"Execution {each.execution}"))
            for each in report.results
        ],
        "cost": reports.money(found.cost),
        "cli": [
            f"skerry quantum job {found.id} --app {place['app']}",
            f"skerry quantum verify {found.id} --app {place['app']}",
        ],
    }


def _hybrid(told: Told | None, place: dict[str, Any]) -> dict[str, Any]:
    """Return a hybrid job with its metrics drawn, and the last lines that it said."""
    assert told is not None, "a job is one or the other"
    found = told.job
    return {
        "title": found.request.name,
        "job": None,
        "hybrid": found,
        "place": place,
        "back": f"/quantum/jobs/{place['app']}/{place['branch']}/{place['resource']}/{found.id}",
        "events": [(reports.second_text(each.at), each) for each in told.events],
        "curves": [
            (name, pictures.curve(values, name))
            for name, values in hybrid_reports.curves(told.metrics).items()
        ],
        "said": "\n".join(each.text for each in told.lines),
        "used": hybrid_reports.used(found) if found.over and found.usage else "",
        "cli": [f"skerry quantum job {found.id} --app {place['app']}"],
    }


async def compare(visit: Any) -> dict[str, Any]:
    """Return what a program would be on every device, and with error correction."""
    query = visit.request.query_params
    program = query.get("program", "").replace("\r\n", "\n")
    app = query.get("app", "")
    filters = {
        "budget": query.get("budget", "").strip(),
        "in": tuple(query.get("in", "").upper().replace(",", " ").split()),
    }
    apps = [each.name for each in await visit.ask("app.list")]
    table, needs, problem, picture = None, None, "", ""
    if program and app and len(program.encode()) > PROGRAM_BYTES_MAX:
        problem = "The program is too long for a form: skerry quantum estimate <file>"
    elif program and app:
        try:
            place = {"app": app, "branch": query.get("branch", MAIN)}
            asked = {name: value for name, value in filters.items() if value}
            table = await visit.ask("quantum.estimate", program=program, **place, **asked)
            needs = await visit.ask("quantum.resources", program=program, **place)
            picture = needs.svg
        except SkerryError as error:
            problem = f"{error.what} {error.why}".strip()
    return {
        "apps": apps,
        "app": app,
        "program": program or EXAMPLE,
        "quotes": [
            (each, reports.money(each.cost), drawing.span(each.seconds) if each.seconds else "-")
            for each in (table.quotes if table else ())
        ],
        "budget": filters["budget"],
        "places": " ".join(filters["in"]),
        "needs": [(each, drawing.span(each.seconds)) for each in needs.needs] if needs else [],
        "hypothetical": reports.HYPOTHETICAL,
        "picture": picture,
        "problem": problem,
        "cli": ["skerry quantum estimate circuit.qasm", "skerry quantum resources circuit.qasm"],
    }
