"""One way to C: a header of straight C99 out of programs and layers, and compiling it."""
