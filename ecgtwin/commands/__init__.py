"""One file per larger command: parse, call one function, say what came of it."""
