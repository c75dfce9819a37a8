"""The emulated device: real ARM64 programs under QEMU's user mode, which tells what they execute.

`image` assembles what that needs in the cache (Debian's QEMU and ARM64 userland, the runtimes' ARM64 wheels, two programs built from the
sources here), `prefix` makes a program believe that it runs on a named device, and `guest` runs one and returns its Trace.
"""
