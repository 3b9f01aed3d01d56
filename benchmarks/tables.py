"""Renders the records into the tables of `benchmarks/README.md`.

A table stands between the lines `<!-- table NAME -->` and `<!-- end -->`; what is between
them is replaced, everything else is left alone.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.accelerator import remark
from benchmarks.harness import RECORDS

README = Path(__file__).parent / "README.md"
Record = dict[str, Any]


def markdown(headings: list[str], rows: list[list[Any]]) -> str:
    """A table with its first column left-aligned."""
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "\n".join("| " + " | ".join(str(x) for x in line) + " |" for line in lines)


def label(record: Record) -> str:
    """Where a record was made."""
    device = record["device"].split()[0]
    return f"jax {record['versions']['jax']}, {device}"


def descent_step(records: list[Record]) -> str:
    """One row a quantity, one column a record."""
    names = list(records[0]["results"])
    rows: list[list[Any]] = [
        [name, *(f"{r['results'][name]['milliseconds']:.2f}" for r in records)]
        for name in names
    ]
    for title, key in (
        ("predicted at the rate of a large product", "predicted_milliseconds_at_gemm_rate"),
        ("share of that rate", "share_of_gemm_rate"),
        ("step / value and gradient", "step_over_gradient"),
        ("one-hot, node by node / value and gradient", "one_hot_over_ours"),
    ):
        rows.append([title, *(f"{r[key]:.2f}" for r in records)])
    for title, key in (
        ("matrix products, by the profiler", "products_milliseconds"),
        ("all else, by the profiler", "all_else_milliseconds"),
    ):
        spent = [r.get("profile", {}).get(key) for r in records]
        rows.append([title, *("" if x is None else f"{x:.2f}" for x in spent)])
    return markdown(["median ms", *map(label, records)], rows)


def contraction(records: list[Record]) -> str:
    """One row a problem and record."""
    rows = []
    for record in records:
        for name, found in record.items():
            if not isinstance(found, dict) or "routes" not in found:
                continue
            results, ratios = found["results"], found["ratios"]
            forced = [v for k, v in ratios.items() if k.startswith("forced")]
            rows.append([
                name,
                label(record),
                f"{found['predicted_milliseconds']:.2f}",
                f"{results['plan']['milliseconds']:.2f}",
                f"{results['plan']['temporary_bytes'] / 1e6:.1f}",
                f"{ratios['gather / plan']:.1f}",
                f"{ratios['one-hot / plan']:.1f}" if "one-hot / plan" in ratios else "",
                f"{min(forced):.2f}",
            ])  # fmt: skip
    headings = ["problem", "record", "predicted ms", "plan ms", "temporary MB",
                "gather / plan", "one-hot / plan", "best forced / plan"]  # fmt: skip
    return markdown(headings, rows)


def others(records: list[Record]) -> str:
    """Sensing, random trees, and the machine's rates."""
    rows = []
    for r in records:
        rate = r["gemm_flops_per_second"]
        trees = r["random trees"]
        rows.append([
            label(r),
            f"{rate / 1e9:.0f}",
            f"{r['stream_bytes_per_second'] / 1e9:.0f}",
            r["sensing"]["einsum / sense"],
            f"{r['sensing']['flops_per_second'] / rate:.2f}",
            trees["plan / gather, median"],
            trees["plan / gather, worst"],
            trees["above 1.1"],
        ])  # fmt: skip
    headings = ["record", "large product Gflop/s", "memory GB/s", "sensing: einsum / ours",
                "share of the product's rate", "random trees: plan / gather, median",
                "worst", "above 1.1"]  # fmt: skip
    return markdown(headings, rows)


def wide(records: list[Record]) -> str:
    """One row a program, both orders."""
    rows = []
    for record in records:
        growth = record["lines, order 1024 / order 256"]
        for name, small in record["order 256"].items():
            large = record["order 1024"].get(name)
            both = [small] if large is None else [small, large]
            rows.append([
                name,
                label(record),
                " / ".join(f"{x['first_call_seconds']:.2f}" for x in both),
                " / ".join(f"{x['milliseconds']:.1f}" for x in both),
                " / ".join(str(x["program_lines"] or "") for x in both).strip(" /"),
                growth.get(name, ""),
            ])  # fmt: skip
    headings = ["order 256 / 1024", "record", "first call s", "later ms", "lines", "growth"]
    return markdown(headings, rows)


def spectra(records: list[Record]) -> str:
    """One row a route."""
    rows = []
    for record in records:
        for name, found in record.items():
            if not name.startswith("order 8"):
                continue
            looped, calls = found["results"], found["calls"]
            for route, row in calls.items():
                own = looped.get(route)
                rows.append([
                    f"{name}, {route}",
                    label(record),
                    f"{own['milliseconds']:.2f}" if own else "",
                    f"{looped['plain']['milliseconds'] / own['milliseconds']:.1f}"
                    if own else "",
                    f"{row['milliseconds']:.2f}",
                    *(
                        f"{calls[x]['milliseconds'] / row['milliseconds']:.1f}"
                        for x in ("plain", "plain, NumPy")
                    ),
                    f"{row['error']:.0e}",
                ])  # fmt: skip
        for route, row in record["order 64, D 4, width 16, float64"].items():
            rows.append([f"order 64, D 4, width 16, float64, {route}, not jitted",
                         label(record), "", "", f"{row['milliseconds']:.1f}",
                         "", "", ""])  # fmt: skip
    headings = [
        "", "record", "in a loop ms", "plain / this", "one call ms", "plain / this",
        "NumPy / this", "error / largest value",
    ]  # fmt: skip
    return markdown(headings, rows)


def precision(records: list[Record]) -> str:
    """One row a kernel, of the first record."""
    record = records[0]
    names = [name for name in record if name.startswith("order")]
    rows = [
        [kernel, *(f"{record[name][kernel]:.0e}" for name in names)]
        for kernel in record[names[0]]
    ]
    return markdown([label(record), *names], rows)


def peers(records: list[Record]) -> str:
    """One row a scheme."""
    rows = []
    for record in records:
        for name, found in record.items():
            if not isinstance(found, dict) or "results" not in found:
                continue
            for scheme, row in found["results"].items():
                ratio = next(
                    (r for k, r in found["ratios"].items() if k.startswith(f"{scheme} /")),
                    1,
                )
                rows.append(
                    [name, label(record), scheme, f"{row['milliseconds']:.2f}", ratio]
                )
    return markdown(["work", "record", "scheme", "ms", "over ours"], rows)


def locality(records: list[Record]) -> str:
    """Milliseconds and ratios, one column a record."""
    names = list(dict.fromkeys(name for r in records for name in r["results"]))
    ratios = list(dict.fromkeys(name for r in records for name in r["ratios"]))
    rows: list[list[Any]] = []
    for name in names:
        found = [r["results"].get(name) for r in records]
        rows.append(
            [f"{name}, ms", *(f"{x['milliseconds']:.0f}" if x else "" for x in found)]
        )
    for name in ratios:
        rows.append([name, *(r["ratios"].get(name, "") for r in records)])
    grids = [r["separation, 32 x 32 grid"]["seconds, 64 contexts"] for r in records]
    rows.append(["separation spectrum, 32 x 32 grid, 64 contexts, s", *grids])
    return markdown(["", *map(label, records)], rows)


def compression(records: list[Record]) -> str:
    """One row a case of the first record, milliseconds, and ratios to the compiled one."""
    cases = records[0]["cases"]
    names = list(next(iter(cases.values()))["results"])
    compiled = next(name for name in names if "compiled" in name)
    rows: list[list[Any]] = []
    for case, found in cases.items():
        times = {name: found["results"][name]["milliseconds"] for name in names}
        best = [times[name] / times[compiled] for name in names if "htfjax" not in name]
        ratios = [f"{ratio:.1f}" for ratio in best]
        rows.append([case, *(f"{times[name]:.0f}" for name in names), *ratios])
    peers = [f"{name} / compiled" for name in names if "htfjax" not in name]
    return markdown([f"ms ({label(records[0])})", *names, *peers], rows)


def completion(records: list[Record]) -> str:
    """One row a ratio of cells to degrees of freedom, of the first record."""
    found = records[0]["summary"]
    rows: list[list[Any]] = [
        [
            f"{ratio} cells a degree of freedom",
            *(x["success"][ratio] for x in found.values()),
        ]
        for ratio in next(iter(found.values()))["success"]
    ]
    rows.append(["processor s, all", *(x["cpu_seconds"] for x in found.values())])
    return markdown([label(records[0]), *found], rows)


def targets(records: list[Record]) -> str:
    """Every target of the race: errors of both libraries at each ratio."""
    rows: list[list[Any]] = []
    libraries = list(records[0]["rows"])
    ratios = list(next(iter(records[0]["summary"].values()))["success"])
    for target in records[0]["targets"]:
        mine = [
            f"{row['error']:.0e}{'' if row['exact_ranks'] else ' *'}"
            for name in libraries
            for row in records[0]["rows"][name]
            if row["seed"] == target["seed"]
        ]
        ranks = " ".join(map(str, target["ranks"]))
        rows.append(
            [target["seed"], target["tree"], ranks, target["degrees_of_freedom"], *mine]
        )
    heads = [f"{name} {ratio}" for name in libraries for ratio in ratios]
    return markdown(["seed", "tree", "ranks", "degrees of freedom", *heads], rows)


def tutorial(records: list[Record]) -> str:
    """One row a library."""
    rows = [
        [name, f"{row['error']:.1e}", " ".join(map(str, row["ranks"].values()))]
        for name, row in records[0]["rows"].items()
    ]
    return markdown([label(records[0]), "error on unknown cells", "ranks"], rows)


def kinetic(records: list[Record]) -> str:
    """Held-out error of every split, relative to the values' root mean square."""
    found = records[0]["rows"]
    names = list(records[0]["summary"]["median_error"])
    splits = sorted({row["split"] for row in found})
    rows: list[list[Any]] = [
        [f"split {k}", *(row["error"] for n in names for row in found
                         if (row["library"], row["split"]) == (n, k))]
        for k in splits
    ]  # fmt: skip
    rows.append(["median", *records[0]["summary"]["median_error"].values()])
    rows.append(["ratio of medians", records[0]["summary"]["ratio"], ""])
    shown = [[x if isinstance(x, str) else f"{x:.4f}" for x in row] for row in rows]
    return markdown([label(records[0]), *names], shown)


def noise(records: list[Record]) -> str:
    """Recovered ranks and median errors at every noise; how often intervals hold."""
    found = records[0]["summary"]
    rows: list[list[Any]] = [
        [name, x["exact_ranks"], f"{x['median_error']:.3g}", f"{x['median_heldout']:.3g}"]
        for name, x in found["beside"].items()
    ]
    rows.append(["intervals that hold", found["covered"], "", ""])
    heads = [label(records[0]), "exact ranks of 3", "error", "held-out error"]
    return markdown(heads, rows)


def sharded(records: list[Record]) -> str:
    """One row a problem and record."""
    rows = []
    for record in records:
        for name, found in record["results"].items():
            one, many = found.values()
            rows.append([
                name,
                label(record),
                *(f"{x['milliseconds']:.1f}" for x in (one, many)),
                f"{record['eight_over_one'][name]:.2f}",
                " / ".join(f"{x['argument_bytes'] / 1e6:.1f}" for x in (one, many)),
            ])  # fmt: skip
    headings = ["problem", "record", "one device, ms", "eight, ms", "eight / one",
                "MB of arguments for each device, one / eight"]  # fmt: skip
    return markdown(headings, rows)


def accelerator(records: list[Record]) -> str:
    """One row a measurement, of every record."""
    rows = [
        [
            found["row"],
            label(record),
            f"{found['milliseconds']:.4g}" if "milliseconds" in found else "",
            f"{found['compile_seconds']:.1f}" if "compile_seconds" in found else "",
            remark(found),
        ]
        for record in records
        for found in record["rows"]
    ]
    return markdown(["", "record", "ms", "compile s", "what else"], rows)


def scaling(records: list[Record]) -> str:
    """Slopes of the first record, measured beside predicted."""
    rows = [
        [
            name, found["top"], f"{found['milliseconds_at_top']:.3g}",
            f"{found['time'][1]:.2f} ({found['time'][0]:.2f} to {found['time'][-1]:.2f})",
            f"{found['predicted_time']:.2f}", f"{found['megabytes_at_top']:.3g}",
            f"{found['memory']:.2f}", f"{found['predicted_memory']:.2f}",
        ]
        for name, found in records[0]["slopes"].items()
    ]  # fmt: skip
    headings = [label(records[0]), "up to", "ms there", "slope of time", "predicted",
                "MB there", "slope of memory", "predicted"]  # fmt: skip
    return markdown(headings, rows)


# Table -> the record it reads and how it is rendered.
TABLES: dict[str, tuple[str, Callable[[list[Record]], str]]] = {
    "descent_step": ("descent_step", descent_step),
    "contraction": ("contraction", contraction),
    "others": ("contraction", others),
    "wide": ("wide", wide),
    "spectra": ("spectra", spectra),
    "precision": ("precision", precision),
    "peers": ("peers", peers),
    "locality": ("locality", locality),
    "sharded": ("sharded", sharded),
    "compression": ("compression", compression),
    "completion": ("completion", completion),
    "targets": ("completion", targets),
    "tutorial": ("completion-tutorial", tutorial),
    "kinetic": ("completion-kinetic", kinetic),
    "noise": ("completion-noise", noise),
    "accelerator": ("accelerator", accelerator),
    "scaling": ("scaling", scaling),
}


def render(text: str) -> str:
    """The text with every table made anew from the records."""

    def table(match: re.Match[str]) -> str:
        name, make = TABLES[match["name"]]
        paths = sorted(RECORDS.glob(f"{name}-jax*.json"))
        records = [json.loads(path.read_text()) for path in paths]
        body = make(records) if records else "Not measured yet."
        return f"<!-- table {match['name']} -->\n{body}\n<!-- end -->"

    pattern = r"<!-- table (?P<name>\w+) -->.*?<!-- end -->"
    return re.sub(pattern, table, text, flags=re.DOTALL)


def main() -> int:
    """Rewrites `benchmarks/README.md`."""
    README.write_text(render(README.read_text(encoding="utf-8")), encoding="utf-8")
    Console().print(f"tables of {README} are up to date", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
