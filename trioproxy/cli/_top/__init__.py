"""What `trioproxy top` is made of.

`state` knows what came and what the keys mean, `tunnels` which are busiest, `view` how it looks in so many columns and
lines, on `columns`; `following` asks the proxy, `terminal` is the keyboard, `screen` brings them together.
"""
