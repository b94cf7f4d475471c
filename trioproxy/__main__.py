"""`python -m trioproxy`: the same as the `trioproxy` command, which is in `cli`."""

from trioproxy.cli import main

if __name__ == "__main__":
    main()
