"""Run a workload from an SDL file on the market, and compare its cost with published price lists.

    python3 compare.py [--usd-per-eur 1.10] [--gpu h100] [--keep]

The node of SKERRY_HOME must be a market with a provider and money in its wallet. Amounts stay in
the currency of their list; ratios need a rate of exchange, which is yours to give.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HOURS_PER_MONTH = 730
SECONDS_PER_HOUR = 3600
CORES, MEMORY_GIB, STORAGE_GIB = Decimal("0.5"), Decimal("0.25"), Decimal("0.5")
"""What `deploy.yaml` asks for."""
WAIT_SECONDS = 60


def main() -> int:
    """Deploy, wait, close, compare."""
    options = parse()
    deployed = skerry("market", "deploy", str(HERE / "deploy.yaml"), "--deposit", "1")
    if not deployed["feasible"]:
        say(deployed["message"])
        return 1
    dseq = str(deployed["dseq"])
    result = wait_for_result(dseq)
    say(f"The workload said: {result}")
    (lease,) = [each for each in skerry("market", "leases") if each["dseq"] == int(dseq)]
    if not options.keep:
        skerry("market", "close", dseq, "--yes")
    invoice = skerry("market", "invoice", dseq)
    seconds = sum(line["ended"] - line["started"] for line in invoice["lines"]) / 1000
    say(f"It was billed for {seconds:.1f} s at {lease['per_hour']}: {money(invoice)}.\n")
    report(Decimal(lease["per_hour"].split()[0]), invoice["currency"], options)
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--usd-per-eur", type=Decimal, help="a rate of exchange, for ratios")
    parser.add_argument("--gpu", default="", help="compare a machine with this GPU too")
    parser.add_argument("--keep", action="store_true", help="do not close the deployment")
    return parser.parse_args()


def skerry(*words: str) -> Any:
    """Run a command of the node; return what it answers."""
    program = Path(sys.executable).with_name("skerry")
    command = [str(program) if program.exists() else "skerry", "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise SystemExit(done.stderr or f"{' '.join(words)} failed")
    return json.loads(done.stdout)


def wait_for_result(dseq: str) -> str:
    """Return what the workload printed, once it has."""
    program = Path(sys.executable).with_name("skerry")
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        said = subprocess.run(
            [str(program) if program.exists() else "skerry", "market", "logs", dseq],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        for line in said.splitlines():
            if "warmest hour" in line:
                return line.partition("  ")[2]
        time.sleep(0.2)
    raise SystemExit("The workload printed nothing.")


def money(invoice: dict[str, Any]) -> str:
    """Return an invoice's total."""
    return f"{Decimal(invoice['total']) / 1_000_000:.6f} {invoice['currency']}"


def price_lists() -> list[dict[str, Any]]:
    """Return the price lists, by name."""
    found = [json.loads(path.read_text()) for path in sorted((HERE / "prices").glob("*.json"))]
    return sorted(found, key=lambda each: each["name"])


def hourly(prices: dict[str, Any], gpu: str = "") -> tuple[Decimal, list[str]]:
    """Return what an hour of the workload costs by a list, and what the list does not price."""
    missing = []
    total = Decimal(0)
    amounts = {"cpu_core": CORES, "memory_gib": MEMORY_GIB, "storage_gib": STORAGE_GIB}
    if prices.get("storage_as_memory"):
        extra = amounts.pop("storage_gib") / prices["storage_as_memory"]
        amounts["memory_gib"] = max(MEMORY_GIB, extra)
    for what, amount in amounts.items():
        if what in prices.get("per_month", {}):
            total += amount * Decimal(prices["per_month"][what]) / HOURS_PER_MONTH
        elif what in prices.get("per_second", {}):
            total += amount * Decimal(prices["per_second"][what]) * SECONDS_PER_HOUR
        else:
            missing.append(what)
    if gpu:
        found = gpu_hourly(prices, gpu)
        if found is None:
            missing.append(gpu)
        else:
            total += found
    return total, missing


def gpu_hourly(prices: dict[str, Any], gpu: str) -> Decimal | None:
    """Return what an hour of a GPU costs by a list, if it says so."""
    for unit, factor in (
        ("per_hour_gpu", Decimal(1)),
        ("per_second_gpu", Decimal(SECONDS_PER_HOUR)),
        ("per_month_gpu", 1 / Decimal(HOURS_PER_MONTH)),
    ):
        if gpu in prices.get(unit, {}):
            return Decimal(prices[unit][gpu]) * factor
    return None


def report(ours: Decimal, currency: str, options: argparse.Namespace) -> None:
    """Print an hour and a month of the same resources, by every list."""
    head = f"{'':<10}{'an hour':>14}{'a month':>14}        seen"
    say(head)
    say(f"{'here':<10}{ours:>14.6f}{ours * HOURS_PER_MONTH:>14.3f} {currency}    now")
    for prices in price_lists():
        total, missing = hourly(prices)
        line = f"{prices['name']:<10}{total:>14.6f}{total * HOURS_PER_MONTH:>14.3f} "
        line += f"{prices['currency']}    {prices['seen']}"
        if missing:
            line += f"    incomplete: no price for {', '.join(missing)}"
        elif options.usd_per_eur and ours:
            line += f"    {total / (ours * options.usd_per_eur):.1f} times"
        say(line)
    if options.gpu:
        say(f"\nAn hour of one {options.gpu} beside it:")
        for prices in price_lists():
            found = gpu_hourly(prices, options.gpu)
            shown = "not in the list" if found is None else f"{found:.4f} {prices['currency']}"
            say(f"{prices['name']:<10}{shown:>20}")
    say("")
    for prices in price_lists():
        say(f"{prices['name']}: {prices['note']} Source: {prices['source']}")


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
