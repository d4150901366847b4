"""`python -m workers.cli` is `evergrant`."""

from workers.cli.app import main

if __name__ == "__main__":
    main()
