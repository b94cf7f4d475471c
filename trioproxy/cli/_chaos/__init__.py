"""What `trioproxy chaos` shows while a run goes on.

`tally` counts what clients have seen so far, `view` says it in lines, `showing` brings those to the command's output.
"""
