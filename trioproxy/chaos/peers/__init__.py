"""Other proxies under the same scenarios, each configured as one who knows it well would, with the reason at each line.

What a scenario asks of any proxy is read in `settings`; a program is started and ended by `program`; then there is a
module for each, and the table of them, `kinds`.
"""
