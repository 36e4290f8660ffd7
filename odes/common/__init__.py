"""What theory, networks and figures share, without any formula of theirs."""
