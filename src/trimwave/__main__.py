"""``python -m trimwave`` is the command line."""

from trimwave.cli import main

if __name__ == "__main__":
    main()
