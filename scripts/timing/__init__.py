"""What `python -m scripts.bench` is made of: models, commands, measurements, table and figures."""
