"""Models from the hub: what to fetch (hub.py), fetching it (transfer.py, fetch.py), what was fetched (recorded.py)."""
