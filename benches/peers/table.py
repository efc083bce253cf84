"""How is what was measured shown?
Given rows, hands back one Markdown table: medians, their spread, and ratios to nginx and to bare.
Never compares across runs."""

import statistics
from dataclasses import dataclass


@dataclass
class Row:
    """One server in one scenario; `rate` only where requests were counted."""
    scenario: str
    title: str
    server: str
    figure: str
    rate: float | None = None
    rest: tuple = ("–", "–", "–")

    @classmethod
    def of_rounds(cls, scenario, title, server, rounds):
        rates = [done["rate"] for done in rounds]
        rate = statistics.median(rates)
        busy = statistics.median(done["busy"] for done in rounds)
        p99 = statistics.median(done["p99_ms"] for done in rounds)
        rest = (f"{min(rates):,.0f}–{max(rates):,.0f}", f"{p99:.2f} ms", f"{busy:.0%}")
        return cls(scenario, title, server, f"{rate:,.0f}/s", rate, rest)


def render(rows, order):
    """Scenarios in order, servers in the order they were named."""
    lines = ["| scenario | server | median | ÷ nginx | ÷ bare | lowest–highest | p99 | server's core busy |",
             "|---|---|---:|---:|---:|---:|---:|---:|"]
    rates = {(row.scenario, row.server): row.rate for row in rows}
    for row in sorted(rows, key=lambda row: (row.scenario, order.index(row.server.split(",")[0]))):
        ratios = (ratio(row.rate, rates.get((row.scenario, peer))) for peer in ("nginx", "bare"))
        cells = (f"({row.scenario}) {row.title}", row.server, row.figure, *ratios, *row.rest)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ratio(rate, peer):
    return f"{rate / peer:.2f}" if rate and peer else "–"
