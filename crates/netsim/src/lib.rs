//! A seeded bad network in virtual time. It knows sizes, moments and chance; it must know nothing of netplay.
