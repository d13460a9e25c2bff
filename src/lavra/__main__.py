"""``python -m lavra``, and with it ``torchrun -m lavra``: the command line."""

from lavra.cli import main

if __name__ == "__main__":
    main()
