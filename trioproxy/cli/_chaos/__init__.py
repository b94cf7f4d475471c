"""What `trioproxy chaos` shows while a run goes on, and its runs of several proxies and scenarios.

`tally` counts what clients have seen so far, `view` says it in lines, `showing` brings those to the command's output.
`beside` makes tables of several runs.
"""
