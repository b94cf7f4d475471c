"""The rules of the wire, sans I/O: fields, HTTP/1.1 messages, WebSocket frames. Nothing here waits or connects."""
