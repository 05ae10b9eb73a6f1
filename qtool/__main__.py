"""`python -m qtool` is `qtool`."""

from qtool.cli.app import main

if __name__ == "__main__":
    main()
