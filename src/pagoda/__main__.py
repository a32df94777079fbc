"""`python -m pagoda`, which is the command `pagoda`."""

from pagoda.cli.main import main

if __name__ == "__main__":
    main()
