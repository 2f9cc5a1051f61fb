"""The `kling` command, on typer and rich (the extra `cli`).

Stage: door. `app` declares the commands and their options; `generate`, `bulk`, `demo` and `serve` are what they do.
Below them: `inputs` (words and files to requests), `connect` (options to a session), `crew` (many jobs on one session,
saved as they come), `interrupt` (signals), `progress` (what a terminal shows), `report` (what is said at the end),
`talk` (the two outputs), `page` (what a bulk run leaves to look at) and `exits` (codes).
"""
