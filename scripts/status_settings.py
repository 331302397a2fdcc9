"""Options of scripts.status."""

from dataclasses import dataclass

from scripts.fields import option


@dataclass
class StatusOptions:
    watch: bool = option(False, "show it again every ten seconds until the sweep is done")
    json: bool = option(False, "print JSON")
