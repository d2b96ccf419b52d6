"""The wires: the session log spoken over HTTP, in the words of each kind of client."""
