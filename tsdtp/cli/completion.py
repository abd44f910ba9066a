"""``tsdtp completion bash``: a script that completes commands, options and their values."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template

from tsdtp.cli.config import config_dir
from tsdtp.cli.main import COMMANDS

# zsh runs the same function through its emulation of bash's completion.
_SCRIPT = Template(
    """\
_tsdtp() {
  local word=$${COMP_WORDS[COMP_CWORD]}
  [[ $$word == = ]] && word=
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($$(compgen -W "$commands" -- "$$word"))
    return
  fi
  local line=$${COMP_LINE:0:COMP_POINT}
  local token=$${line##* }
  COMPREPLY=($$(compgen -W "$choices" -- "$$token"))
  if [[ $$token == *=* && $$COMP_WORDBREAKS == *=* ]]; then
    COMPREPLY=("$${COMPREPLY[@]#"$${token%%=*}="}")
  fi
  if ((!$${#COMPREPLY[@]})); then
    compopt -o default 2>/dev/null
  fi
}
complete -F _tsdtp tsdtp
"""
)
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the script; ``eval "$(tsdtp completion bash)"`` in ~/.bashrc puts it to use.

    Args:
        argv: arguments after ``tsdtp completion``; those of the process by default.
    """
    parser = argparse.ArgumentParser(prog="tsdtp completion", description=__doc__)
    parser.add_argument("shell", choices=("bash", "zsh"))
    shell = parser.parse_args(argv).shell
    script = _SCRIPT.substitute(commands=" ".join(COMMANDS), choices=" ".join(choices()))
    print(script if shell == "bash" else _ZSH + script, end="")
    return 0


def choices() -> list[str]:
    """``group=name`` for every yaml in a group of the configs, and the keys most often set."""
    root = Path(config_dir())
    found = [
        f"{path.relative_to(root).parent}={path.stem}"
        for path in sorted(root.glob("**/*.yaml"))
        if path.parent != root
    ]
    keys = ("pruning.budget=", "seed=", "epochs=", "batch_size=", "optim.lr=", "model.init_from=")
    return [*found, *keys, "overwrite=true", "dry_run=true", "run=", "variant="]


if __name__ == "__main__":
    sys.exit(main())
