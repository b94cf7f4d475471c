"""An nginx configuration as a configuration of trioproxy, with an account of every line.

    importing     the story: read, understand, convert, settle, account
    reading       files to `statements`; model: what they describe; variables: maps and sets
    checking      what nginx refuses
    listeners, names, certificates, routes, regexes, passing, access, fields, leaving, pools, servers, shared: what
                  becomes of what
    document      the configuration in the making; settling: what of it the configuration takes
    known         what is known of every other directive; notes: what is said about the file

The command line is in `cli`; nothing here writes files.
"""

from trioproxy.nginx_import.importing import FIRST_WORDS, Imported, import_nginx
from trioproxy.nginx_import.notes import Fate, Kind, Meaning, Note, Notes
from trioproxy.nginx_import.reading import ReadError

__all__ = ["FIRST_WORDS", "Fate", "Imported", "Kind", "Meaning", "Note", "Notes", "ReadError", "import_nginx"]
