#!/usr/bin/env python3
"""Draws what `tern bench --gemm --json` wrote: how many times as long as W1.58A8 cuBLAS takes, over
the number of tokens, one picture a launch mode.

  bench/plot_gemm.py RESULT.json [PREFIX]     writes PREFIX-cold.svg, -hot.svg, -graph.svg
"""
import json
import sys


def lines_of(rows, mode):
    """{(product, side): ([m], [ratio])} of a mode, without the side that all are compared with."""
    lines = {}
    for row in rows:
        if row.get("mode") != mode or row["side"] == "W1.58A8" or not row["ratio"]:
            continue
        at = lines.setdefault((f"{row['preset']} {row['matrix']}", row["side"]), ([], []))
        at[0].append(row["m"])
        at[1].append(row["ratio"])
    return lines


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        result = json.load(file)
    if result["emulated"]:
        sys.exit("plot_gemm.py: an emulated device has no times to draw")
    from matplotlib import pyplot  # after the checks, which need no package

    prefix = sys.argv[2] if len(sys.argv) == 3 else "gemm"
    for mode in ("cold", "hot", "graph", "stream"):
        figure, axes = pyplot.subplots(figsize=(9, 6))
        for (product, side), (tokens, ratios) in lines_of(result["rows"], mode).items():
            style = "-" if "fp16" in side else "--"
            axes.plot(tokens, ratios, style, label=f"{product}, {side}")
        axes.axhline(1, color="black", linewidth=0.8)
        axes.set(xscale="log", xlabel="tokens", ylabel="time / time of W1.58A8",
                 title=f"{result['machine']}, {mode}")
        axes.legend(fontsize=6)
        figure.savefig(f"{prefix}-{mode}.svg")


main()
