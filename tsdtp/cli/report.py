"""``tsdtp report DIR``: tables from every record under a folder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from tsdtp.report.answers import Run, read_runs
from tsdtp.report.comparisons import REFERENCE, compare, references_of, save_comparisons
from tsdtp.report.figures import save_figures
from tsdtp.report.html import save_page
from tsdtp.report.render import load_report, print_report, save_report
from tsdtp.report.speed import save_speed


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables of a folder and writes them, paired tests, plots and report.html.

    Args:
        argv: Arguments after ``tsdtp report``; those of the process by default.

    Returns:
        0, or 2 where there is nothing to report on.
    """
    options = _parser().parse_args(argv)
    try:
        report = load_report(options.folder)
        out = options.out or options.folder
        runs, unread = read_runs(report.records, options.folder)
        references = references_of(runs, options.reference)
        pairs = compare(runs, references)
        page = save_page(report, options.folder, out, runs, pairs, references)
        paired = save_comparisons(pairs, out)
        paths = [*save_report(report, out), paired]
        paths += [*save_figures(report, out), page, *save_speed(report.records.values(), out)]
        for warning in [*report.warnings, *unread, *_untested(runs, references)]:
            print(f"warning: {warning}", file=sys.stderr)
        if not options.quiet:
            print_report(report)
            if len(pairs):
                print(_tested(references, paired, page))
            print("wrote " + ", ".join(map(str, paths)), flush=True)
    except (OSError, ValueError) as error:
        print(f"tsdtp report: {error}", file=sys.stderr)
        return 2
    return 0


def _tested(references: Collection[str], *paths: Path) -> str:
    """Where the tests are that no printed table has."""
    others = ", ".join(["the unpruned model", *references])
    return f"paired tests, each method with {others}: {', '.join(map(str, paths))}"


def _untested(runs: Sequence[Run], references: Collection[str]) -> Iterator[str]:
    """What is said where several methods could be compared and are not."""
    names = sorted({run.name for run in runs if run.identity["pruning"] != "none"})
    if not references and len(names) > 1:
        yield (
            f"no run is called {REFERENCE}, so methods are compared with the unpruned model alone; "
            f"--reference NAME: {', '.join(names)}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tsdtp report", description=__doc__)
    parser.add_argument("folder", metavar="DIR", help="folder of runs, searched at any depth")
    parser.add_argument("--out", metavar="DIR", help="where the tables go (default: DIR)")
    parser.add_argument(
        "--reference",
        metavar="METHOD",
        action="append",
        default=[],
        help="compare every method with this one in the paired tests, named as in report.html: "
        "transkimmer, or 'transkimmer 0.36 ten' (default: ts_dtp); once for each",
    )
    parser.add_argument("--quiet", action="store_true", help="write the files, print no table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
