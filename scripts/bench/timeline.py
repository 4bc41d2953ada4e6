#!/usr/bin/env python3
"""scripts/bench/timeline.py TRACE...: a picture of a run, from what the stages wrote with --trace.

    cs-parse REPO --trace p.json | cs-embed --trace e.json | cs-store --trace s.json
    scripts/bench/timeline.py p.json e.json s.json -o run.svg

A lane is a thread: dark where it worked, in light colours where it waited for input or for its
output to be taken, empty where it waited for another thread of its stage. Several runs, each from
its own beginning and on one scale:

    scripts/bench/timeline.py --run 'one after the other' p1.json e1.json s1.json \\
                     --run piped p.json e.json s.json --title 'A repository' -o both.svg

The picture is SVG; --png makes a PNG of it as well, where rsvg-convert, Inkscape or ImageMagick is
installed. Needs Python's standard library only.
"""

import argparse
import json
import shutil
import subprocess
import sys
from html import escape

# Category of an event, its colour, what it means.
KINDS = [
    ("work", "#2f5d8a", "works"),
    ("wait_in", "#f0c36d", "waits for input"),
    ("wait_out", "#d98880", "waits for output"),
]
LABELS, PLOT, LANE, GAP = 150, 760, 14, 4

CONVERTERS = [
    ["rsvg-convert", "-z", "2", "-o", "{png}", "{svg}"],
    ["inkscape", "{svg}", "--export-type=png", "--export-filename={png}"],
    ["magick", "-density", "192", "{svg}", "{png}"],
    ["convert", "-density", "192", "{svg}", "{png}"],
]


def events_of(path):
    """Reads a trace; of one that a killed process left, as far as it goes."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        # An event is a line, and the last one may be cut.
        found = []
        for line in text.splitlines():
            try:
                found.append(json.loads(line.strip().strip(",")))
            except json.JSONDecodeError:
                continue
    if isinstance(found, dict):
        found = found.get("traceEvents", [])
    return [event for event in found if isinstance(event, dict)]


def lanes_of(paths):
    """Returns the processes of a run: (name, [(thread, [(start, end, category)])]), the first one first."""
    processes = []
    for path in paths:
        names, threads, process = {}, {}, path
        for event in events_of(path):
            if event.get("ph") == "M":
                name = event.get("args", {}).get("name", "")
                if event["name"] == "process_name":
                    process = name
                else:
                    names[event["tid"]] = name
            elif event.get("ph") == "X":
                start = event["ts"] / 1e6
                span = (start, start + event["dur"] / 1e6, event.get("cat", "work"))
                threads.setdefault(event["tid"], []).append(span)
        if not threads:
            raise OSError(f"{path}: no events in it")
        lanes = [(names.get(tid, str(tid)), spans) for tid, spans in sorted(threads.items())]
        processes.append((process, lanes))
    return processes


def columns(spans, start, scale):
    """Returns for each column of pixels what a lane did there for longest, None if nothing."""
    times = [{} for _ in range(PLOT + 1)]
    for begin, end, kind in spans:
        left, right = (begin - start) * scale, (end - start) * scale
        for at in range(max(int(left), 0), min(int(right), PLOT) + 1):
            share = min(right, at + 1) - max(left, at)
            if share > 0:
                times[at][kind] = times[at].get(kind, 0) + share
    best = []
    for kinds in times[:PLOT]:
        idle = 1 - sum(kinds.values())
        kind = max(kinds, key=kinds.get, default=None)
        best.append(kind if kind and kinds[kind] >= idle / 2 else None)
    return best


def paths(kinds, y):
    """Returns an SVG path for each category of a lane."""
    parts, at = {}, 0
    while at < len(kinds):
        end = at
        while end < len(kinds) and kinds[end] == kinds[at]:
            end += 1
        if kinds[at]:
            width = end - at
            parts.setdefault(kinds[at], []).append(f"M{LABELS + at} {y}h{width}v{LANE - 3}h-{width}z")
        at = end
    return [
        f'<path class="{kind}" d="{"".join(parts[kind])}"/>' for kind, _, _ in KINDS if kind in parts
    ]


def axis(y, seconds, scale):
    """Returns the axis: a tick at each round number of seconds."""
    step = 10.0 ** -3
    for factor in [2, 2.5, 2] * 8:
        if seconds / step <= 10:
            break
        step *= factor
    out, tick = [], 0.0
    while tick <= seconds * 1.0001:
        x = LABELS + tick * scale
        out.append(f'<path class="tick" d="M{x:.1f} {y}v5"/>')
        out.append(f'<text class="t" x="{x:.1f}" y="{y + 16}">{tick:g}</text>')
        tick = round(tick + step, 6)
    out.append(f'<text class="t" x="{LABELS + PLOT + 24}" y="{y + 16}">seconds</text>')
    return out


def picture(runs, title):
    """Returns the SVG of runs, each (name, processes)."""
    spans = lambda processes: [s for _, lanes in processes for _, found in lanes for s in found]
    starts = [min(s[0] for s in spans(processes)) for _, processes in runs]
    ends = [max(s[1] for s in spans(processes)) for _, processes in runs]
    seconds = max(end - start for start, end in zip(starts, ends))
    scale = PLOT / max(seconds, 1e-9)
    body, y = [], 24
    body.append(f'<text class="title" x="10" y="{y}">{escape(title)}</text>')
    x = LABELS
    y += 20
    for kind, _, meaning in KINDS:
        body.append(f'<path class="{kind}" d="M{x} {y - 9}h12v10h-12z"/>')
        body.append(f'<text x="{x + 17}" y="{y}">{meaning}</text>')
        x += 140
    y += 14
    for (name, processes), start, end in zip(runs, starts, ends):
        heading = f"{name}: {end - start:.2f} s" if name else f"{end - start:.2f} s"
        y += 18
        body.append(f'<text class="run" x="10" y="{y}">{escape(heading)}</text>')
        y += 8
        for process, lanes in processes:
            for number, (thread, found) in enumerate(lanes):
                label = f"{process}: {thread}" if number == 0 else thread
                body.append(f'<text class="l" x="{LABELS - 8}" y="{y + 9}">{escape(label)}</text>')
                body += paths(columns(found, start, scale), y)
                y += LANE
            y += GAP
    body += axis(y + 2, seconds, scale)
    height, width = y + 30, LABELS + PLOT + 60
    fills = "".join(f".{kind}{{fill:{colour}}}" for kind, colour, _ in KINDS)
    style = (
        "text{font:11px sans-serif;fill:#333}.title{font-size:15px}.run{font-weight:bold}"
        ".l{text-anchor:end}.t{text-anchor:middle}.tick{stroke:#333}" + fills
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}"><style>{style}</style>'
        f'<path fill="#fff" d="M0 0h{width}v{height}h-{width}z"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def to_png(svg, png):
    """Makes a PNG with the first converter that is there; tells whether one did."""
    for command in CONVERTERS:
        if shutil.which(command[0]):
            filled = [part.format(svg=svg, png=png) for part in command]
            if subprocess.run(filled, stdout=subprocess.DEVNULL, check=False).returncode == 0:
                return True
    return False


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("traces", nargs="*", metavar="TRACE", help="the traces of one run's stages")
    parser.add_argument("--run", nargs="+", action="append", default=[], metavar=("NAME", "TRACE"))
    parser.add_argument("-o", "--output", default="timeline.svg", metavar="FILE")
    parser.add_argument("--title", default="What each thread did when")
    parser.add_argument("--png", metavar="FILE", help="a PNG of the picture as well")
    args = parser.parse_args()
    named = [(name, traces) for name, *traces in args.run]
    if args.traces:
        named.insert(0, ("", args.traces))
    if not named or not all(traces for _, traces in named):
        parser.error("no trace is named")
    try:
        runs = [(name, lanes_of(traces)) for name, traces in named]
        with open(args.output, "w", encoding="utf-8") as file:
            file.write(picture(runs, args.title))
    except OSError as error:
        print(f"timeline: {error}", file=sys.stderr)
        sys.exit(2)
    if args.png and not to_png(args.output, args.png):
        names = ", ".join(command[0] for command in CONVERTERS)
        print(f"timeline: no PNG, for want of a converter ({names})", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
