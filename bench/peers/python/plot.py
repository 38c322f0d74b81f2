#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""plot.py RESULTS.json OUT.png: what `./dev bench processes` has measured, a panel a question.

Bars are medians on a logarithmic scale, whiskers the best and the worst round; shorter is better.
"""
import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

TITLES = {
    "open": "open to first result",
    "round trip": "no-op, there and back",
    "each submitted": "a no-op of many, each with its future",
    "map": "a no-op of many, by one call of map",
    "1 MiB": "an argument of 1 MiB",
    "64 MiB": "an argument of 64 MiB",
}
OURS, THEIRS = "#1b6ca8", "#b9bec5"


def text(value, unit):
    digits = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return f"{digits} {'µs' if unit == 'us' else unit}"


def panel(axes, title, rows):
    rows = sorted(rows, key=lambda r: r["value"], reverse=True)
    values = [r["value"] for r in rows]
    spread = [[max(0, r["value"] - r["best"]) for r in rows],
              [max(0, r["worst"] - r["value"]) for r in rows]]
    axes.barh(range(len(rows)), values, xerr=spread, height=0.62, ecolor="#555555", capsize=2,
              color=[OURS if r["impl"].startswith("plait") else THEIRS for r in rows])
    axes.set_xscale("log")
    low, high = min(values), max(r["worst"] for r in rows)
    axes.set_xlim(low / 4, high * 6)
    for y, row in enumerate(rows):
        axes.text(max(row["value"], row["worst"]) * 1.25, y, text(row["value"], row["unit"]),
                  va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [r["impl"] for r in rows], fontsize=9)
    unit = "µs" if rows[0]["unit"] == "us" else rows[0]["unit"]
    axes.set_xlabel(f"{unit}, logarithmic", fontsize=9)
    axes.set_title(title, fontsize=11, loc="left", fontweight="bold")
    axes.grid(axis="x", color="#e6e6e6", zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        run = json.load(f)
    rows = [r for r in run["results"] if r["bench"] == "processes" and "value" in r]
    metrics = [m for m in TITLES if any(r["metric"] == m for r in rows)]
    if not metrics:
        sys.exit("plot: nothing of `processes` was measured")
    lines = (len(metrics) + 1) // 2
    figure, axes = plt.subplots(lines, 2, figsize=(13, 2.9 * lines), squeeze=False)
    for metric, a in zip(metrics, axes.flat):
        panel(a, TITLES[metric], [r for r in rows if r["metric"] == metric])
    for a in axes.flat[len(metrics):]:
        a.set_visible(False)
    about = run["machine"]
    figure.suptitle("Process pools with two workers: shorter is better", fontsize=14, x=0.01,
                    ha="left")
    figure.text(0.01, 0.005, f"median of {rows[0]['rounds']} rounds, whiskers from the best to the "
                f"worst; {about['cpu']}, {about['cpus']} CPUs, Linux {about['kernel']}, "
                f"{about['time'][:10]}, load {about['load']:.1f} at the end", fontsize=8)
    figure.tight_layout(rect=(0, 0.02, 1, 0.98))
    figure.savefig(sys.argv[2], dpi=110)


if __name__ == "__main__":
    main()
