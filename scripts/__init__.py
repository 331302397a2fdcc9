"""Entry points, thin: each is run as `python -m scripts.<name>`."""
