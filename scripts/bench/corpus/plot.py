"""Draws lines over a logarithmic axis as SVG, with the standard library."""

import math
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 560, 300, 60, 45, 25
COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d6a9f")


def lines(rows, names, across, up):
    """Returns an SVG of `rows`, each x and a y for each of the names; y begins at 0."""
    xs = [row[0] for row in rows]
    highest = max(max(row[1:]) for row in rows)
    # The next of 100, 200, 500, 1000 ... is where the axis ends.
    power = 10 ** math.floor(math.log10(highest))
    end = next(power * step for step in (1, 2, 5, 10) if power * step >= highest)

    def x(value):
        low, high = math.log10(min(xs)), math.log10(max(xs))
        return LEFT + (math.log10(value) - low) / ((high - low) or 1) * (WIDTH - LEFT - 110)

    def y(value):
        return HEIGHT - BOTTOM - value / end * (HEIGHT - BOTTOM - TOP)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
           'font-family="sans-serif" font-size="11">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for step in range(6):
        value = end * step / 5
        out.append(f'<line x1="{LEFT}" x2="{x(max(xs)):.1f}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,.0f}</text>')
    for value in xs:
        out.append(f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:,}</text>')
    for at, name in enumerate(names):
        colour = COLOURS[at % len(COLOURS)]
        points = " ".join(f"{x(row[0]):.1f},{y(row[at + 1]):.1f}" for row in rows)
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="{x(max(xs)) + 8:.1f}" y="{y(rows[-1][at + 1]) + 4:.1f}" fill="{colour}">{escape(name)}</text>')
    middle = (LEFT + x(max(xs))) / 2
    out.append(f'<text x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>')
    out.append(f'<text x="{LEFT - 6}" y="{TOP - 10}">{escape(up)}</text>')
    return "\n".join([*out, "</svg>", ""])
