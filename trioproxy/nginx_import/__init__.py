"""An nginx configuration read and understood, so that it can be converted.

    reading       files to `statements`
    model         what they describe
    variables     maps and sets
    notes         what is said about the file

Nothing here writes files.
"""
