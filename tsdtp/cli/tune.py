"""`tsdtp tune`: searches settings for quality against cost with Optuna."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from tsdtp.cli.config import ConfigError
from tsdtp.cli.launch import INTERRUPTED
from tsdtp.cli.signals import terminate_as_interrupt
from tsdtp.cli.sweep import sweep_lock
from tsdtp.cli.tuning.outcome import save_search
from tsdtp.cli.tuning.search import Search
from tsdtp.cli.tuning.settings import OWN, USAGE, check_spelling, load_settings
from tsdtp.cli.tuning.trials import make_study
from tsdtp.cli.usage import described, exit_with, wants_help


def main(argv: Sequence[str] | None = None) -> int:
    """`tsdtp tune [hparams=NAME|FILE.yaml] [trials=N] [sampler=tpe|nsga2] [OVERRIDE ...]`.

    Returns:
        0, or 1 if no trial finished, or 2 for a wrong command line.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if wants_help(arguments):
        print(f"{USAGE}\n\nSearches (configs/hparams):\n{described('hparams')}")
        return 0
    own = [a for a in arguments if a.split("=")[0] in OWN]
    others = [a for a in arguments if a not in own]
    try:
        check_spelling(others)
        search = Search(load_settings(own), others)
        with sweep_lock(search.folder), terminate_as_interrupt():
            pool = search.pool()  # or a refused search would hold the folder
            study = make_study(search.folder, search.settings, search.searched)
            search.run(study, pool)
    except ConfigError as error:
        exit_with(error, "tsdtp tune")
    except KeyboardInterrupt:
        _interrupted()
    if not study.best_trials:
        print(f"no trial finished; see {search.folder / 'trials'}", file=sys.stderr)
        return 1
    save_search(study, search.folder, search.start, search.trial, search.settings["cost"])
    return 0


def _interrupted() -> NoReturn:
    print("interrupted; the same command goes on where it stopped", flush=True)
    sys.exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
