//! The extension module `netplay._core`: converts, calls, converts back.
