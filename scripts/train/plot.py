"""Line charts as small SVG files.

    scripts/train/plot.py .train/demo/log.jsonl loss.svg

plots the loss of a run of train.py. report.py uses `chart`.
"""
import argparse
import json
import math
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 560, 340, 60, 36, 20, 48
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
N_TICKS = 6


def nice_ticks(low, high):
    """About N_TICKS round numbers between low and high."""
    raw = (high - low) / N_TICKS
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


class Axes:
    """Maps values to places of the picture."""

    def __init__(self, xs, ys, log_x):
        self.x = math.log10 if log_x else float
        self.x0, self.x1 = self.x(min(xs)), self.x(max(xs))
        margin = 0.05 * (max(ys) - min(ys))
        self.y0, self.y1 = min(ys) - margin, max(ys) + margin
        self.x_ticks = sorted(set(xs)) if log_x else nice_ticks(self.x0, self.x1)
        self.y_ticks = nice_ticks(self.y0, self.y1)

    def place(self, x, y):
        across = (self.x(x) - self.x0) / (self.x1 - self.x0)
        up = (y - self.y0) / (self.y1 - self.y0)
        return (LEFT + across * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM))


def text(x, y, label, anchor="middle", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(label)}</text>'


def frame(axes, labels):
    """Grid, ticks, title and names of the axes."""
    title, x_label, y_label = labels
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out = [text(WIDTH / 2, 20, title, more='font-weight="bold"'),
           text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label),
           text(16, middle, y_label, more=f'transform="rotate(-90 16 {middle})"')]
    for value in axes.y_ticks:
        _, y = axes.place(10**axes.x0, value)
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        out.append(text(LEFT - 6, y + 4, f"{value:.4g}", "end"))
    for value in axes.x_ticks:
        x, _ = axes.place(value, axes.y0)
        out.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        out.append(text(x, HEIGHT - BOTTOM + 16, f"{value:.4g}"))
    return out


def chart(path, series, labels, log_x=False, marks=True):
    """series: {name: [(x, y), ...]}; labels: title and the names of the axes."""
    points = [point for line in series.values() for point in line]
    axes = Axes([x for x, _ in points], [y for _, y in points], log_x)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *frame(axes, labels)]
    for i, (name, line) in enumerate(series.items()):
        color, places = COLORS[i % len(COLORS)], [axes.place(*point) for point in line]
        route = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        out.append(f'<polyline points="{route}" fill="none" stroke="{color}" stroke-width="2"/>')
        if marks:
            out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in places]
        out.append(text((LEFT + WIDTH - RIGHT) / 2, TOP + 18 + 16 * i, name,
                        more=f'fill="{color}"'))
    path.write_text("\n".join([*out, "</svg>"]) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    lines = [json.loads(line) for line in args.log.read_text().splitlines()]
    loss = [(line["tokens"] / 1e6, line["loss"]) for line in lines if "loss" in line]
    chart(args.out, {"loss": loss}, ("Training", "million tokens", "nats per token"), marks=False)


if __name__ == "__main__":
    main()
