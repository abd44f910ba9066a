"""`python -m program CODE` runs the code."""

import sys


def main() -> None:
    exec(sys.argv[1], {})


if __name__ == "__main__":
    main()
