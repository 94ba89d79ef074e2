//! Sockets, the I/O thread and name resolution around `netplay-proto`. It must not know Python.
