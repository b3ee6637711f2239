"""The subcommands of ``narvl``, one a file."""
