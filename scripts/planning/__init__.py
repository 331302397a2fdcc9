"""What a sweep will cost (`python -m scripts.plan sweep=NAME`): runs, tokens, time, disk, judges."""
