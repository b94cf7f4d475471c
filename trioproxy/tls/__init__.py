"""TLS on connections: what is encrypted and decrypted, over which stream, and with which certificates.

`layer` does it without I/O, `stream` over a socket, `contexts` reads the files, `identity` is whom to ask for. Which
listener or pool has TLS, and what follows from a failure, is decided by those who ask. Nothing is imported here: who
checks certificates has no need of streams.
"""
